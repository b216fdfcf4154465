"""All violations of a request are reported at once, with fields named as the client wrote them."""

import base64
import struct
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import ParseDict
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status

from services.auth.password_strength import GUESSABLE
from services.auth.usernames import MIXED
from services.common.protobuf.contract import Method, all_methods
from services.common.protobuf.violations import NOT_A_DATE, NOT_A_PARTIAL_DATE, REQUIRED
from services.common.text import BIDIRECTIONAL
from tests.e2e.sessions import Session
from tests.harness.client import Rejected
from tests.harness.rest_errors import read_status

METHODS = {method.name: method for method in all_methods()}
NO_ID = "00000000-0000-0000-0000-000000000000"
EMAIL = "must be a valid email address"
UUID = "must be a valid UUID"
NOT_NEGATIVE = "must be greater than or equal to 0"
SEX = "must be one of SEX_UNSPECIFIED, SEX_FEMALE, SEX_MALE, SEX_OTHER"


@dataclass(frozen=True)
class Case:
    """A request with several violations."""

    method: str
    rest: str
    """The verb and path of the REST request."""
    body: dict[str, Any] | None
    request: dict[str, Any]
    """The gRPC request, in JSON form."""
    violations: dict[tuple[str, str], str]
    """The sentences by the name of the field in REST and in gRPC."""


NAME, SECOND = ("name", "patient.name"), ("email", "patient.email")
BORN, MASK = ("dateOfBirth", "patient.date_of_birth"), ("updateMask", "update_mask")
ADDRESS = ("address", "patient.address")
BAD_TEXT = {"name": "A\u202e", "email": "x", "address": "A", "dateOfBirth": "1980-02-30", "sex": 99}
BAD_USER = {"email": "x", "username": "a\u0431", "password": "password1"}
BAD_CHANGE = {"name": "", "email": "x", "registeredDate": "2020-13-01"}

CASES = [
    Case(
        "CreatePatient",
        "POST /v1/patients",
        {"name": "", "email": "x"},
        {"patient": {"name": "", "email": "x"}},
        {NAME: REQUIRED, SECOND: EMAIL, ADDRESS: REQUIRED, BORN: REQUIRED},
    ),
    Case(
        "CreatePatient",
        "POST /v1/patients",
        None,
        {},
        {NAME: REQUIRED, SECOND: REQUIRED, ADDRESS: REQUIRED, BORN: REQUIRED},
    ),
    Case(
        "CreatePatient",
        "POST /v1/patients?requestId=%C3%A9",
        BAD_TEXT,
        {"requestId": "\u00e9", "patient": BAD_TEXT},
        {
            NAME: BIDIRECTIONAL,
            SECOND: EMAIL,
            BORN: NOT_A_PARTIAL_DATE,
            ("sex", "patient.sex"): SEX,
            ("requestId", "request_id"): "must contain only printable ASCII characters",
        },
    ),
    Case(
        "UpdatePatient",
        f"PATCH /v1/patients/{NO_ID}",
        BAD_CHANGE,
        {"patient": {"id": NO_ID, **BAD_CHANGE}, "updateMask": "name,email,registeredDate"},
        {NAME: REQUIRED, SECOND: EMAIL, ("registeredDate", "patient.registered_date"): NOT_A_DATE},
    ),
    Case(
        "UpdatePatient",
        "PATCH /v1/patients/7?updateMask=surname",
        {"etag": "x" * 65},
        {"patient": {"id": "7", "etag": "x" * 65}, "updateMask": "surname"},
        {
            ("id", "patient.id"): UUID,
            ("etag", "patient.etag"): "must be at most 64 characters",
            MASK: "must not contain fields that cannot be updated: surname",
        },
    ),
    Case(
        "ListPatients",
        "GET /v1/patients?pageSize=-1&bornAfter=2020-02-30&born_before=x",
        None,
        {"pageSize": -1, "bornAfter": "2020-02-30", "bornBefore": "x"},
        {
            ("pageSize", "page_size"): NOT_NEGATIVE,
            ("bornAfter", "born_after"): NOT_A_DATE,
            ("born_before", "born_before"): NOT_A_DATE,
        },
    ),
    Case(
        "SignUp",
        "POST /v1/auth/signup",
        BAD_USER,
        BAD_USER,
        {("email", "email"): EMAIL, ("username", "username"): MIXED, ("password", "password"): GUESSABLE},
    ),
    Case(
        "CreateUser",
        "POST /v1/users",
        {**BAD_USER, "role": 9},
        {**BAD_USER, "role": 9},
        {
            ("email", "email"): EMAIL,
            ("username", "username"): MIXED,
            ("password", "password"): GUESSABLE,
            ("role", "role"): "must be one of ROLE_UNSPECIFIED, ROLE_USER, ROLE_ADMIN",
        },
    ),
    Case(
        "UpdateUser",
        "PATCH /v1/users/7?updateMask=role,email",
        {},
        {"user": {"id": "7"}, "updateMask": "role,email"},
        {
            ("id", "user.id"): UUID,
            ("role", "user.role"): REQUIRED,
            MASK: "must not contain fields that cannot be updated: email",
        },
    ),
    Case(
        "GetPatientStatistics",
        "GET /v1/analytics/statistics?start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z",
        None,
        {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"},
        {("start", "start"): "must not be after the end"},
    ),
    Case(
        "ListBillingAccounts",
        "GET /v1/billing/accounts?patientId=7&page_size=-1",
        None,
        {"patientId": "7", "pageSize": -1},
        {("patientId", "patient_id"): UUID, ("page_size", "page_size"): NOT_NEGATIVE},
    ),
]

cases = pytest.mark.parametrize("case", CASES, ids=[f"{case.method}-{number}" for number, case in enumerate(CASES)])


@cases
def test_rest_names_fields_as_in_the_request(admin: Session, case: Case) -> None:
    verb, path = case.rest.split()
    response = admin.rest.request(verb, path, json=case.body)
    assert response.status_code == 400, response.text
    expected = {rest: sentence for (rest, _), sentence in case.violations.items()}
    assert parse(read_status(response)) == expected


@cases
def test_grpc_names_fields_by_their_path(admin: Session, case: Case) -> None:
    method, request = build(case)
    with pytest.raises(Rejected) as rejected:
        admin.client("auth").call(method.path, request)
    assert parse(rejected.value.status) == {path: sentence for (_, path), sentence in case.violations.items()}


@cases
def test_grpc_web_names_fields_by_their_path(admin: Session, case: Case) -> None:
    method, request = build(case)
    frame = struct.pack(">BI", 0, len(request)) + request
    response = admin.rest.post(method.path, content=frame, headers={"content-type": "application/grpc-web+proto"})
    status = Status.FromString(base64.b64decode(find_details(response) + "=="))
    assert parse(status) == {path: sentence for (_, path), sentence in case.violations.items()}


def test_client_cannot_choose_the_names(user: Session) -> None:
    method, request = build(CASES[0])
    with pytest.raises(Rejected) as rejected:
        user.client("auth").call(method.path, request, metadata=(("x-envoy-original-path", "/v1/patients"),))
    assert "patient.name" in parse(rejected.value.status)


def build(case: Case) -> tuple[Method, bytes]:
    """Returns the method of a case and its serialized gRPC request."""
    method = METHODS[case.method]
    return method, ParseDict(case.request, method.input()).SerializeToString()


def parse(status: Status) -> dict[str, str]:
    """Returns the descriptions in a status, by field. Fails if it names a field twice."""
    bad = BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details), status
    violations = {each.field: each.description for each in bad.field_violations}
    assert len(violations) == len(bad.field_violations)
    return violations


def find_details(response: httpx.Response) -> str:
    """Returns the status details in the headers, or in the trailers at the end of the body."""
    if details := response.headers.get("grpc-status-details-bin"):
        return str(details)
    [line] = [line for line in response.text.splitlines() if "grpc-status-details-bin:" in line]
    return line.partition("grpc-status-details-bin:")[2].strip()
