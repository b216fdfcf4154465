"""Requests as clients of other languages and frameworks write them, against the real services."""

import socket
from typing import Any

import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.protobuf.contract import SERVICES
from tests.e2e.sessions import Session, a_patient
from tests.e2e.surfaces import METHODS, Surface, call_web
from tests.harness.client import connect
from tests.harness.waiting import eventually
from tools.instance import Instance

RAW = {
    "HTTP/1.0": ("GET /healthz HTTP/1.0\r\n\r\n", b"HTTP/1.0 200"),
    "HTTP/1.0 with headers": ("GET /readyz HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n", b"HTTP/1.0 200"),
    "upgrade": ("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: TLS/1.2\r\n\r\n", b"HTTP/1.1 200"),
    "two hosts": ("GET /healthz HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n", b"HTTP/1.1 400"),
    "two hosts with HTTP/1.0": ("GET /healthz HTTP/1.0\r\nhost: x\r\nhost: x\r\n\r\n", b"HTTP/1.0 400"),
}
EQUAL_LISTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"orderBy": "createTime desc"}, {"orderBy": "create_time desc"}),
    ({"orderBy": "createTime desc"}, {}),
    ({"orderBy": "name  desc"}, {"orderBy": "name desc"}),
    ({"orderBy": " name , dateOfBirth  desc "}, {"orderBy": "name,date_of_birth desc"}),
]
LISTS = [
    method.name
    for method in METHODS.values()
    if method.http and "page_size" in method.input.DESCRIPTOR.fields_by_name and "{" not in method.http[0].path
]
GETS = ["/v1/auth/me", "/v1/users", "/v1/billing/accounts", "/v1/analytics/statistics", "/v1/patients/{patient}"]
UNKNOWN = "01890000-0000-7000-8000-00000000ABCD"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_authorization_scheme_is_case_insensitive(system: Instance, user: Session, scheme: str) -> None:
    header, path = ("authorization", f"{scheme} {user.token}"), METHODS["GetCurrentUser"].path
    with httpx.Client(base_url=system.url, headers=[header], timeout=20) as http:
        found = [http.get("/v1/auth/me").raise_for_status().json(), call_web(http, "GetCurrentUser").body]
    assert found == [user.get("/v1/auth/me")] * 2
    for port in (system.port, system.state().ports["auth"]):
        with connect(port, "auth") as client:
            assert client.call(path, b"", (header,))


@pytest.mark.parametrize(("request_", "expected"), RAW.values(), ids=RAW)
def test_http_1_request_is_answered(system: Instance, request_: str, expected: bytes) -> None:
    with socket.create_connection(("127.0.0.1", system.port), timeout=20) as connection:
        connection.sendall(request_.encode())
        assert connection.recv(4096).startswith(expected)


@pytest.mark.parametrize("colon", ["%3A", "%3a", ":"])
def test_colon_of_a_custom_method_may_be_escaped(user: Session, admin: Session, colon: str) -> None:
    created = user.post("/v1/patients", a_patient())
    admin.rest.delete(f"/v1/patients/{created['id']}").raise_for_status()
    admin.rest.post(f"/v1/patients/{created['id']}{colon}undelete").raise_for_status()
    assert user.get(f"/v1/patients/{created['id']}")["name"] == created["name"]


@pytest.mark.parametrize("path", GETS)
def test_head_has_the_headers_of_get_and_no_body(user: Session, admin: Session, path: str) -> None:
    path = path.format(patient=user.post("/v1/patients", a_patient())["id"])
    head, get = admin.rest.head(path), admin.rest.get(path)
    assert (head.status_code, head.content, get.status_code) == (200, b"", 200)
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("path", ["/v1/patients?query={}", "/v1/billing/accounts?patientId={}", "/v1/patients/{}"])
@pytest.mark.parametrize("value", ["%E9", "%ff", "a%80"])
def test_parameter_that_is_not_utf_8_is_rejected(user: Session, path: str, value: str) -> None:
    response = user.rest.get(path.format(value))
    assert (response.status_code, response.json()["details"][0]["reason"]) == (400, "QUERY_PARAMETER_INVALID")


@pytest.mark.parametrize(("written", "plain"), EQUAL_LISTS, ids=[f"{row[0]} {row[1]}" for row in EQUAL_LISTS])
def test_order_may_be_written_differently(api: Surface, written: dict[str, Any], plain: dict[str, Any]) -> None:
    for name in ("B", "A"):
        api("CreatePatient", patient=a_patient(name=name))
    found = api("ListPatients", pageSize=3, **written)
    assert found.reason == ""
    assert found.body["patients"] == api("ListPatients", pageSize=3, **plain).body["patients"]
    assert api("ListPatients", pageSize=3, pageToken=found.body["nextPageToken"], **plain).reason == ""


@pytest.mark.parametrize("method", LISTS)
def test_page_size_above_the_maximum_is_accepted(admin_api: Surface, method: str) -> None:
    for size in (1001, 5000, 2_147_483_647):
        assert admin_api(method, pageSize=size).reason == ""


@pytest.mark.parametrize("name", ["", *SERVICES.values()])
def test_health_of_each_service_is_available_through_the_gateway(user: Session, name: str) -> None:
    check = health_pb2_grpc.HealthStub(user.channel).Check
    status = check(health_pb2.HealthCheckRequest(service=name), timeout=20).status
    assert status == health_pb2.HealthCheckResponse.SERVING


def test_id_in_upper_case_is_the_same_id(api: Surface, admin_api: Surface) -> None:
    created = api("CreatePatient", patient=a_patient()).body
    patient = created["id"].upper()
    assert api("GetPatient", id=patient).body == created
    updated = api("UpdatePatient", patient={"id": patient, "phone": "112"})
    assert (updated.body["id"], updated.body["phone"]) == (created["id"], "112")
    assert api("ListPatientRevisions", id=patient).body["revisions"][0]["patient"]["id"] == created["id"]
    assert admin_api("DeletePatient", id=patient).body["id"] == created["id"]
    assert admin_api("UndeletePatient", id=patient).body["id"] == created["id"]
    [account] = eventually(lambda: api("ListBillingAccounts", patientId=patient).body["billingAccounts"])
    assert account["patientId"] == created["id"]
    assert api("GetBillingAccount", id=account["id"].upper()).body["id"] == account["id"]
    events = eventually(lambda: api("ListPatientEvents", patientId=patient).body["events"])
    assert {event["patientId"] for event in events} == {created["id"]}


def test_id_of_the_path_may_be_repeated_in_the_body_in_upper_case(user: Session) -> None:
    patient = user.post("/v1/patients", a_patient())["id"]
    for path_id, body_id in ((patient.upper(), patient), (patient, patient.upper())):
        updated = user.rest.patch(f"/v1/patients/{path_id}", json={"id": body_id, "phone": "112"}).raise_for_status()
        assert updated.json()["id"] == patient


@pytest.mark.parametrize("method", ["GetPatient", "GetBillingAccount", "ListPatientRevisions"])
def test_unknown_id_in_upper_case_is_not_found(api: Surface, method: str) -> None:
    assert api(method, id=UNKNOWN).code == "NOT_FOUND"
