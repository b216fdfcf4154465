"""Invalid input over gRPC and REST returns a clear error, and logs contain no secrets."""

import json

import grpc
import pytest

from services.common.protobuf.contract import MAX_MESSAGE_BYTES
from tests.e2e.sessions import PASSWORD, Session, a_patient
from tests.harness.client import Rejected
from tests.harness.waiting import eventually
from tools.instance import Instance

CREATE = "/pulsetrack.patient.v1.PatientService/CreatePatient"


@pytest.mark.parametrize(
    "request_bytes",
    [b"\x0a\xff\xff\xff\xff", b"\x0a\x05\x0a\x03A", b"\xff", b"\x0a\x04\x12\x02\xff\xfe"],
    ids=["a length beyond the end", "a truncated message", "half a tag", "a name that is not UTF-8"],
)
def test_malformed_message_is_rejected_over_grpc(user: Session, request_bytes: bytes) -> None:
    with pytest.raises(Rejected) as rejected:
        user.client("patient").call(CREATE, request_bytes)
    assert (rejected.value.code, rejected.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELDS_INVALID")


def test_oversized_message_is_rejected_over_grpc(user: Session) -> None:
    with pytest.raises(Rejected) as rejected:
        user.client("patient").call(CREATE, b"\x00" * (MAX_MESSAGE_BYTES + 1))
    assert (rejected.value.code, rejected.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    ("content", "kind", "status", "reason"),
    [
        (b'{"name": "\xff\xfe"}', "application/json", 400, "JSON_INVALID"),
        (b'{"name": ', "application/json", 400, "JSON_INVALID"),
        (b"<patient/>", "application/json", 400, "JSON_INVALID"),
        (b"[]", "application/json", 400, "JSON_INVALID"),
        (b'{"name": ["A"]}', "application/json", 400, "JSON_INVALID"),
        (b"[" * 100_000, "application/json", 400, "JSON_INVALID"),
        (b"", "application/json", 400, "FIELDS_INVALID"),
        (b'{"name": "A\\u0000B"}', "application/json", 400, "FIELDS_INVALID"),
        (b"name=A", "application/x-www-form-urlencoded", 415, "CONTENT_TYPE_UNSUPPORTED"),
        (b" " * 10_000_000, "application/json", 413, "BODY_TOO_LARGE"),
    ],
)
def test_invalid_body_is_rejected_over_rest(user: Session, content: bytes, kind: str, status: int, reason: str) -> None:
    response = user.rest.post("/v1/patients", content=content, headers={"content-type": kind})
    assert (response.status_code, response.json()["details"][0]["reason"]) == (status, reason)


def test_invalid_field_is_reported_as_a_field_violation(user: Session) -> None:
    response = user.rest.post("/v1/patients", json=a_patient(email="nobody", dateOfBirth="2999-01-01"))
    details = {detail["@type"].split(".")[-1]: detail for detail in response.json()["details"]}
    assert [violation["field"] for violation in details["BadRequest"]["fieldViolations"]] == ["dateOfBirth", "email"]
    assert details["RequestInfo"]["requestId"] == response.headers["x-request-id"]


def test_logs_contain_no_secrets(system: Instance, admin: Session) -> None:
    with Session.sign_up(system) as session:
        wrong = {"email": "admin@pulsetrack.local", "password": "a wrong password"}
        assert session.rest.post("/v1/auth/login", json=wrong).status_code == 401
        again = session.post("/v1/auth/refresh", {"refreshToken": session.refresh_token})
        session.rest.post("/v1/auth/refresh", json={"refreshToken": session.refresh_token})
        secret = [PASSWORD, "a wrong password", system.admin_password, session.token, admin.token]
        secret += [session.refresh_token, again["accessToken"], again["refreshToken"]]
    secret += [path.read_text() for path in (system.folder / "secrets").iterdir()]

    eventually(lambda: read_logs(system).count(json.dumps("/v1/auth/refresh")) >= 2)
    assert [text for text in secret if text in read_logs(system)] == []


def test_logs_contain_no_personal_data(system: Instance, user: Session) -> None:
    first, other = (personal_data(number) for number in (1, 2))
    _, another = (user.post("/v1/patients", a_patient(**fields)) for fields in (first, other))
    path = f"/v1/patients/{another['id']}"
    statuses = [
        user.rest.post("/v1/patients", json=a_patient(**first)).status_code,
        user.rest.post("/v1/patients", json=a_patient(medicalRecordNumber=first["medicalRecordNumber"])).status_code,
        user.rest.patch(path, json={"email": first["email"]}).status_code,
        user.rest.patch(path, json={**first, "email": other["email"], "dateOfBirth": "2999-01-01"}).status_code,
        user.rest.post("/v1/patients", json={**first, "dateOfBirth": "1980-13-45"}).status_code,
        user.rest.get("/v1/patients", params={"query": first["email"], "pageToken": first["name"]}).status_code,
        user.rest.post("/v1/auth/login", json={"email": first["email"], "password": "wrong" * 3}).status_code,
    ]
    assert statuses == [409, 409, 409, 400, 400, 400, 401]
    with user.rest.stream("GET", "/v1/patients", params={"query": first["email"]}) as last:
        pass  # the client disconnects before reading the response
    with pytest.raises(Rejected):  # the message is truncated within the name
        user.client("patient").call(CREATE, b"\x0a\x7f\x0a\x7f" + first["name"].encode())
    eventually(lambda: last.headers["x-request-id"] in read_logs(system))
    canaries = [value for fields in (first, other) for value in fields.values()]
    assert [text for text in canaries if text in read_logs(system)] == []


def personal_data(number: int) -> dict[str, str]:
    """Returns unique personal data."""
    return {
        "name": f"Canary Nightingale {number}",
        "email": f"canary.{number}@nightingale.test",
        "phone": f"+44 20 7946 09{number:02}",
        "address": f"{number} Canary Wharf Lane",
        "medicalRecordNumber": f"CANARY-{number:06}",
    }


def read_logs(system: Instance) -> str:
    """Returns the contents of all logs of an instance."""
    return "".join(path.read_text(errors="replace") for path in (system.folder / "logs").iterdir())
