"""Paths that the gateway and a service might interpret differently."""

import grpc
import pytest

from tests.e2e.sessions import Session, a_patient
from tests.harness.client import Rejected, attempt
from tests.security.raw import send
from tools.instance import Instance

TO_CLOSED = [
    "//v1/patients",
    "/v1//patients",
    "/v1/auth/login/../../patients",
    "/v1/auth/./../patients",
    "/v1/auth/%2e%2e/patients",
    "/v1/auth/.%2E/patients",
    "/.well-known/jwks.json/../../v1/patients",
    "/healthz/../v1/patients",
    "/v1/auth/..;/patients",
    "http://elsewhere.test/v1/patients",
]
"""Paths that normalize to /v1/patients."""

TO_NOTHING = [
    "/v1/patients/",
    "/v1/patients//",
    "/V1/patients",
    "/v1/Patients",
    "/v1/patients;x=1",
    "/v1/patients;/v1/auth/login",
    "/v1/patients%3bx",
    "/v1/patients%20",
    "/v1/patients.json",
    "/v1/auth/login/",
    "/v1/auth/LOGIN",
    "/../../etc/passwd",
    "/%252e%252e/v1/patients",
]

AMBIGUOUS = [
    "/v1%2fpatients",
    "/v1%2Fpatients",
    "/v1/auth/..%2fpatients",
    "/v1%5cpatients",
    "/v1/patients%00",
    "/v1/patients/%2e%2e%2fusers",
]


@pytest.mark.parametrize("path", TO_CLOSED)
def test_path_is_normalized_before_authentication(system: Instance, path: str) -> None:
    assert send(system, "GET", path) == (401, "TOKEN_MISSING")


@pytest.mark.parametrize("path", TO_NOTHING)
def test_near_match_of_a_path_is_not_found(system: Instance, user: Session, path: str) -> None:
    assert send(system, "GET", path) == (404, "ROUTE_NOT_FOUND")
    assert send(system, "GET", path, headers=bearer(user)) == (404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_ambiguous_path_is_rejected(system: Instance, user: Session, path: str) -> None:
    assert send(system, "GET", path, headers=bearer(user)) == (400, "REQUEST_INVALID")


@pytest.mark.parametrize(
    "path", ["/v1/patients/{}/", "/v1/patients//{}", "/v1/patients/x/../{}", "/v1/patients/{};x", "/v1/users/..%2f{}"]
)
def test_no_path_lets_a_user_call_an_admin_method(system: Instance, user: Session, path: str) -> None:
    created = user.post("/v1/patients", a_patient())
    response = send(system, "DELETE", path.format(created["id"]), headers=bearer(user))
    assert response.reason in {"ROLE_REQUIRED", "ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED", "REQUEST_INVALID"}
    assert user.get(f"/v1/patients/{created['id']}") == created


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-original-url", "/v1/auth/login"),
        ("x-rewrite-url", "/v1/auth/login"),
        ("x-envoy-original-path", "/v1/auth/login"),
        ("x-forwarded-prefix", "/v1/auth"),
    ],
)
def test_override_headers_are_ignored(system: Instance, header: str, value: str) -> None:
    assert send(system, "GET", "/v1/patients", headers={header: value}) == (401, "TOKEN_MISSING")


def bearer(session: Session) -> dict[str, str]:
    return {"authorization": f"Bearer {session.token}"}


NATIVE = [
    "//pulsetrack.patient.v1.PatientService/ListPatients",
    "/pulsetrack.auth.v1.AuthService/../pulsetrack.patient.v1.PatientService/ListPatients",
    "/pulsetrack.auth.v1.AuthService/%2e%2e/pulsetrack.patient.v1.PatientService/ListPatients",
    "/pulsetrack.patient.v1.PatientService%2fListPatients",
    "/pulsetrack.patient.v1.PatientService/ListPatients/",
    "/pulsetrack.patient.v1.PatientService/listPatients",
    "/pulsetrack.patient.v1.patientservice/ListPatients",
    "/pulsetrack.patient.v1.PatientService/ListPatients;x",
    "/grpc.health.v1.Health/../pulsetrack.patient.v1.PatientService/ListPatients",
    "/grpc.reflection.v1.ServerReflection/../../pulsetrack.patient.v1.PatientService/ListPatients",
    "/grpc.health.v1.Health/..%2fpulsetrack.patient.v1.PatientService/ListPatients",
]


@pytest.mark.parametrize("path", NATIVE)
def test_no_grpc_path_bypasses_authentication(system: Instance, path: str) -> None:
    with Session.open(system) as anonymous:
        response = attempt(lambda: anonymous.client("patient").call(path, b""))
    assert isinstance(response, Rejected)
    assert response.reason in {"TOKEN_MISSING", "ROUTE_NOT_FOUND", "REQUEST_INVALID"}
    assert response.code is not grpc.StatusCode.OK
