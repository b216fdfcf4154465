"""Responses to JSON bodies, and to the same requests over gRPC, by example."""

import json
from typing import Any

import pytest

from tests.e2e.sessions import Session, a_patient
from tests.e2e.surfaces import Surface
from tests.harness.waiting import eventually

INVALID_JSON = [
    '{"name": "A",}',
    '{name: "A"}',
    "{'name': 'A'}",
    '{"name": "\\q"}',
    '{"name": "A", "name": "A"}',
    '{"dateOfBirth": "1980-02-29", "date_of_birth": "1980-02-29"}',
]
NOT_SETTABLE = [
    ("POST", "/v1/patients", a_patient(mrn="00042"), "mrn"),
    ("PATCH", "/v1/patients/{patient}", {"phnoe": "1"}, "phnoe"),
    ("PATCH", "/v1/users/{user}", {"password": "x"}, "password"),
    ("POST", "/v1/patients", a_patient(sex="FEMALE"), "sex"),
    ("PATCH", "/v1/patients/{patient}", {"sex": "FEMALE"}, "sex"),
    ("PATCH", "/v1/patients/{patient}", {"createTime": "2020-01-01T00:00:00Z"}, "createTime"),
    ("PATCH", "/v1/users/{user}", {"role": "ADMIN"}, "role"),
]
CLEARED = [("phone", ""), ("phone", None), ("sex", "SEX_UNSPECIFIED"), ("medicalRecordNumber", "")]


def send(session: Session, verb: str, path: str, body: str) -> tuple[int, str, dict[str, str]]:
    """Sends a body as it is. Returns the HTTP status, the reason and the violations of the error."""
    response = session.rest.request(verb, path, content=body, headers={"content-type": "application/json"})
    info, *details = response.json()["details"]
    violations = [each for detail in details for each in detail.get("fieldViolations", [])]
    return response.status_code, info["reason"], {each["field"]: each["description"] for each in violations}


@pytest.mark.parametrize("row", NOT_SETTABLE, ids=[f"{row[1]} {row[3]}" for row in NOT_SETTABLE])
def test_field_that_cannot_be_set_is_rejected(
    user: Session, admin: Session, row: tuple[str, str, dict[str, Any], str]
) -> None:
    verb, path, body, field = row
    patient, account = user.post("/v1/patients", a_patient()), user.get("/v1/auth/me")
    full_path = path.format(patient=patient["id"], user=account["id"])
    status, reason, violations = send(admin, verb, full_path, json.dumps(body))
    assert (status, reason, [*violations]) == (400, "JSON_INVALID", [field])
    assert (user.get(f"/v1/patients/{patient['id']}"), user.get("/v1/auth/me")) == (patient, account)


def test_unknown_value_of_an_enum_is_rejected_with_the_known_values(user: Session) -> None:
    violations = send(user, "POST", "/v1/patients", '{"sex": "FEMALE"}')[2]
    assert "SEX_FEMALE" in violations["sex"]


@pytest.mark.parametrize("body", INVALID_JSON)
@pytest.mark.parametrize(("verb", "path"), [("POST", "/v1/patients"), ("POST", "/v1/auth/login"), ("PATCH", "{}")])
def test_invalid_json_is_rejected(user: Session, verb: str, path: str, body: str) -> None:
    path = path.format(f"/v1/patients/{user.post('/v1/patients', a_patient())['id']}")
    assert send(user, verb, path, body)[:2] == (400, "JSON_INVALID")


@pytest.mark.parametrize(("field", "value"), CLEARED)
def test_optional_field_is_cleared(api: Surface, field: str, value: str | None) -> None:
    full = a_patient(phone="+351 21 000 000", sex="SEX_FEMALE")
    created = api("CreatePatient", patient=full | {"medicalRecordNumber": full["email"]}).body
    mask = {} if api.name == "REST" else {"updateMask": field}
    updated = api("UpdatePatient", patient={"id": created["id"], field: value}, **mask).body
    expected = {**created, field: value or ""}
    changing = ("updateTime", "etag")
    assert {**updated, **{name: created[name] for name in changing}} == expected
    assert api("GetPatient", id=created["id"]).body == updated


@pytest.mark.parametrize("field", ["name", "email", "address", "dateOfBirth"])
def test_required_field_cannot_be_cleared(api: Surface, field: str) -> None:
    created = api("CreatePatient", patient=a_patient()).body
    mask = {} if api.name == "REST" else {"updateMask": field}
    rejected = api("UpdatePatient", patient={"id": created["id"], field: ""}, **mask)
    assert (rejected.code, rejected.reason, len(rejected.violations)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", 1)
    assert api("GetPatient", id=created["id"]).body == created


def test_update_of_no_field_is_rejected(api: Surface, admin_api: Surface) -> None:
    created, account = api("CreatePatient", patient=a_patient()).body, api("GetCurrentUser").body
    for rejected in (
        api("UpdatePatient", patient={"id": created["id"]}),
        api("UpdatePatient", patient={"id": created["id"], "etag": created["etag"]}),
        admin_api("UpdateUser", user={"id": account["id"]}),
    ):
        assert (rejected.code, rejected.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")


def test_empty_list_contains_every_field(api: Surface, admin_api: Surface) -> None:
    assert api("ListPatients", query="nosuchname").body == {"patients": [], "nextPageToken": ""}
    unknown = "01890000-0000-7000-8000-000000000000"
    assert api("ListBillingAccounts", patientId=unknown).body == {"billingAccounts": [], "nextPageToken": ""}
    assert api("ListPatientEvents", patientId=unknown).body == {"events": [], "nextPageToken": ""}
    assert admin_api("ListDeadLetters").body == {"deadLetters": [], "nextPageToken": ""}


def test_statistics_count_patients_of_unspecified_sex(api: Surface) -> None:
    api("CreatePatient", patient=a_patient())

    def list_sexes() -> list[str]:
        return [each["sex"] for each in api("GetPatientStatistics").body["sexes"]]

    eventually(lambda: "SEX_UNSPECIFIED" in list_sexes())


def test_every_violation_is_reported_at_once(api: Surface) -> None:
    rejected = api("CreatePatient", patient={"name": "", "email": "x"})
    assert (rejected.code, rejected.reason) == ("INVALID_ARGUMENT", "FIELDS_INVALID")
    assert {*rejected.violations} == api.names("name", "email", "address", "dateOfBirth")
