"""JSON bodies of REST requests: nothing that a client sends is silently ignored."""

import json
from typing import Any

import pytest

from services.common.protobuf.contract import Http, Method, all_methods
from tests.envoy.gateway import Gateway
from tests.envoy.test_routes import example_path

BODIES = [
    pytest.param(method, http, id=f"{http.verb} {http.path}")
    for method in all_methods()
    for http in method.http
    if http.body and not method.takes_raw_body(http)
]
PATIENT = "/v1/patients/7f0c6e64-7c1b-7b6e-8f3e-1d2c3b4a5968"


def send(gateway: Gateway, verb: str, path: str, body: str, role: str = "ADMIN") -> Any:
    """Sends a body as it is, and returns the response. The caller is an admin by default."""
    token = gateway.keys.token(role=role)
    return gateway.http.request(
        verb, path, content=body, headers={"authorization": f"Bearer {token}", "content-type": "application/json"}
    )


def violations(response: Any) -> dict[str, str]:
    """Returns the field violations of a response with the reason JSON_INVALID."""
    assert response.status_code == 400
    info, *details = response.json()["details"]
    assert info["reason"] == "JSON_INVALID"
    return {each["field"]: each["description"] for detail in details for each in detail["fieldViolations"]}


@pytest.mark.parametrize(("method", "http"), BODIES)
def test_unknown_field_is_rejected_on_every_path(gateway: Gateway, method: Method, http: Http) -> None:
    response = send(gateway, http.verb, example_path(http), '{"mrn": "00042"}')
    assert violations(response) == {"mrn": "is not a field of this request"}
    assert not gateway.received_calls()


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "A",}',
        '{name: "A"}',
        "{'name': 'A'}",
        '{"name": "\\q"}',
        '{"name": "\\u12"}',
        '{"name": "a\nb"}',
        '{"name" "A"}',
        '{"name": "A"} {}',
        '{"name": "A"',
        '{"name": "A}',
        '{"name": tru}',
        '{"sex": 01}',
        '{"sex": 1.}',
        '{"sex": +1}',
        "{,}",
        '[{"name": "A"}]',
        '"name"',
        "null",
        "\ufeff{}",
    ],
)
def test_invalid_json_is_rejected(gateway: Gateway, body: str) -> None:
    assert violations(send(gateway, "POST", "/v1/patients", body)) == {}
    assert not gateway.received_calls()


def test_all_invalid_fields_are_reported_at_once(gateway: Gateway) -> None:
    body = '{"mrn": "1", "sex": "FEMALE", "name": 7, "email": "a@x.test", "e_mail": null, "dateOfBirth": ["1984"]}'
    assert violations(send(gateway, "POST", "/v1/patients", body)) == {
        "mrn": "is not a field of this request",
        "sex": "must be one of SEX_UNSPECIFIED, SEX_FEMALE, SEX_MALE, SEX_OTHER",
        "name": "must be a string",
        "e_mail": "is not a field of this request",
        "dateOfBirth": "must be a string",
    }


@pytest.mark.parametrize("body", ['{"name": "A", "name": "B"}', '{"dateOfBirth": "1984-03-02", "date_of_birth": ""}'])
def test_repeated_field_is_rejected(gateway: Gateway, body: str) -> None:
    assert [*violations(send(gateway, "POST", "/v1/patients", body)).values()] == ["must not be repeated"]


def test_unreadable_field_name_is_not_echoed(gateway: Gateway) -> None:
    body = json.dumps({'"}],"x': 1, "%s" * 100: 1})
    assert [*violations(send(gateway, "POST", "/v1/patients", body))] == ["(unreadable name)"]


def test_white_space_escapes_and_proto_names_are_accepted(gateway: Gateway) -> None:
    body = '\r\n{\t"name" : "A\\u0301\\n\\"" ,\n"date_of_birth":"1984-03-02","sex": 1, "phone":null } \n'
    assert send(gateway, "POST", "/v1/patients", body).status_code == 200
    [call] = gateway.received_calls()
    patient = call.request.patient
    assert (patient.name, patient.date_of_birth, patient.sex) == ('A\u0301\n"', "1984-03-02", 1)


@pytest.mark.parametrize("value", ['{"a": 1}', "5", "1" * 4000])
def test_id_in_a_patch_must_be_a_string(gateway: Gateway, value: str) -> None:
    response = send(gateway, "PATCH", PATIENT, f'{{"id": {value}, "phone": "1"}}')
    assert violations(response) == {"id": "must be a string"}


def test_enum_number_of_many_digits_is_rejected(gateway: Gateway) -> None:
    assert [*violations(send(gateway, "POST", "/v1/patients", '{"sex": ' + "1" * 100_000 + "}"))] == ["sex"]


def test_number_of_reported_violations_is_limited(gateway: Gateway) -> None:
    body = json.dumps({f"field{number}": number for number in range(1000)})
    assert len(violations(send(gateway, "POST", "/v1/patients", body))) == 20


@pytest.mark.parametrize("body", ["", "{}", " { } "])
def test_custom_method_accepts_an_empty_body(gateway: Gateway, body: str) -> None:
    assert send(gateway, "POST", f"{PATIENT}:undelete", body).status_code == 200


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ('{"phone": ""}', ["phone"]),
        ('{"phone": null}', ["phone"]),
        ('{"sex": "SEX_UNSPECIFIED", "name": "A"}', ["sex", "name"]),
        ('{"date_of_birth": "1984-03-02", "etag": "7"}', ["date_of_birth"]),
        (f'{{"id": "{PATIENT.rpartition("/")[2]}", "phone": "1"}}', ["phone"]),
    ],
)
def test_fields_of_a_patch_become_its_update_mask(gateway: Gateway, body: str, paths: list[str]) -> None:
    assert send(gateway, "PATCH", PATIENT, body).status_code == 200
    [call] = gateway.received_calls()
    assert [*call.request.update_mask.paths] == paths


@pytest.mark.parametrize("query", ["updateMask=", "update_mask=", "updateMask=&"])
def test_empty_update_mask_is_replaced(gateway: Gateway, query: str) -> None:
    response = send(gateway, "PATCH", f"{PATIENT}?{query}", '{"sex": 0}')
    assert response.status_code == 200, response.text
    [call] = gateway.received_calls()
    assert [*call.request.update_mask.paths] == ["sex"]


@pytest.mark.parametrize("name", ["updateMask", "update_mask"])
def test_explicit_update_mask_is_not_replaced(gateway: Gateway, name: str) -> None:
    response = send(gateway, "PATCH", f"{PATIENT}?{name}=phone", '{"phone": "1", "createTime": "2020-01-01T00:00:00Z"}')
    assert response.status_code == 200
    [call] = gateway.received_calls()
    assert [*call.request.update_mask.paths] == ["phone"]


@pytest.mark.parametrize("body", ["", "{}", '{"etag": "7"}'])
def test_patch_without_a_field_has_no_update_mask(gateway: Gateway, body: str) -> None:
    assert send(gateway, "PATCH", PATIENT, body).status_code == 200
    [call] = gateway.received_calls()
    assert not call.request.HasField("update_mask")


ID = PATIENT.rpartition("/")[2]


@pytest.mark.parametrize("query", ["", "?updateMask=phone"])
@pytest.mark.parametrize(("path_id", "body_id"), [(ID, ID), (ID.upper(), ID), (ID, ID.upper())])
def test_id_of_the_path_may_be_repeated_in_the_body(gateway: Gateway, path_id: str, body_id: str, query: str) -> None:
    body = json.dumps({"id": body_id, "phone": "112"})
    response = send(gateway, "PATCH", f"/v1/patients/{path_id}{query}", body)
    assert response.status_code == 200, response.text
    [call] = gateway.received_calls()
    assert (call.request.patient.id, [*call.request.update_mask.paths]) == (body_id, ["phone"])


@pytest.mark.parametrize("path_id", [ID, ID.upper()])
def test_id_of_the_path_may_be_repeated_for_a_custom_method(gateway: Gateway, path_id: str) -> None:
    response = send(gateway, "POST", f"/v1/patients/{path_id}:undelete", json.dumps({"id": ID}))
    assert response.status_code == 200, response.text
    [call] = gateway.received_calls()
    assert call.request.id == ID


@pytest.mark.parametrize("query", ["", "?updateMask=phone"])
def test_another_id_in_the_body_is_rejected(gateway: Gateway, query: str) -> None:
    response = send(gateway, "PATCH", f"{PATIENT}{query}", json.dumps({"id": ID.replace("7", "8"), "phone": "112"}))
    assert response.status_code == 400
    assert not gateway.received_calls()


@pytest.mark.parametrize(("verb", "path"), [("POST", "/v1/patients"), ("PATCH", PATIENT)])
def test_output_only_field_is_rejected(gateway: Gateway, verb: str, path: str) -> None:
    response = send(gateway, verb, path, '{"createTime": "2020-01-01T00:00:00Z"}')
    assert violations(response) == {"createTime": "must not be set, because the server sets it"}


@pytest.mark.parametrize("body", ['{"mrn": 1}', "{"])
def test_invalid_body_of_a_caller_without_the_role_reaches_the_service(gateway: Gateway, body: str) -> None:
    send(gateway, "PATCH", PATIENT.replace("patients", "users"), body, role="USER")  # a stub permits all roles
    [call] = gateway.received_calls()
    assert call.request.user.ByteSize() == len(PATIENT.rpartition("/")[2]) + 2
    assert not call.request.HasField("update_mask")


def test_errors_have_the_empty_fields_of_the_errors_of_services(gateway: Gateway) -> None:
    info, bad = send(gateway, "POST", "/v1/patients", '{"mrn": "1"}').json()["details"]
    assert info["metadata"] == {}
    assert bad["fieldViolations"][0]["reason"] == ""
    assert gateway.http.get("/v1/nothing").json()["details"][0]["metadata"] == {}
