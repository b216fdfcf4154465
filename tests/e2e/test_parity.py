"""gRPC and REST return the same google.rpc.Status, from the gateway and from the services."""

import re
from collections.abc import Container
from typing import Any
from uuid import uuid4

import grpc
import httpx
import pytest
from google.protobuf.json_format import ParseDict
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from services.common.protobuf.contract import MAX_MESSAGE_BYTES, PATH_VARIABLE, AccessKind, Method, all_methods
from tests.e2e.sessions import PASSWORD, Session, a_patient
from tests.harness.client import Rejected, attempt
from tests.harness.rest_bodies import content_type
from tests.harness.rest_errors import read_status
from tools.instance import Instance

BOTH = [method for method in all_methods() if method.http]
WITH_TOKEN = [method for method in BOTH if method.access.kind is AccessKind.USERS]
FOR_ADMINS = [method for method in WITH_TOKEN if "USER" not in method.access.roles]
WITH_ID = [method for method in BOTH if PATH_VARIABLE.search(method.http[0].path)]
CREATE = "/pulsetrack.patient.v1.PatientService/CreatePatient"

Error = tuple[Any, ...] | None
"""Code, message, reason, metadata, violations and retry delay of an error. None if the call succeeds."""


def get_name(method: Method) -> str:
    return method.name


def parse_status(status: Status) -> Error:
    """Returns the content of a status, without the request id. Fails on details that the contract does not contain."""
    info, bad, request, retry = ErrorInfo(), BadRequest(), RequestInfo(), RetryInfo()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(bad) or detail.Unpack(request) or detail.Unpack(retry)
    violations = sorted((violation.field, violation.description) for violation in bad.field_violations)
    assert info.domain == "pulsetrack"
    return status.code, status.message, info.reason, dict(info.metadata), violations, retry.retry_delay.seconds


def call_grpc(session: Session, path: str, request: bytes) -> Error:
    """Returns the error of a gRPC call."""
    response = attempt(lambda: session.client("auth").call(path, request))
    if not isinstance(response, Rejected):
        return None
    assert (response.status.code, response.status.message) == (response.code.value[0], response.message)
    return parse_status(response.status)


def parse_response(response: httpx.Response) -> Error:
    """Returns the error in a REST response."""
    return parse_status(read_status(response)) if response.is_error else None


def call_both(session: Session, method: Method, value: str, **query: str) -> tuple[Error, Error]:
    """Makes a call over gRPC and REST, with a value for each path variable. Returns both errors."""
    [http] = method.http
    request = method.input()
    if http.body and http.body != "*":
        getattr(request, http.body).SetInParent()
    if method.takes_raw_body(http):
        getattr(request, http.body).data = b"{}"
    for variable in PATH_VARIABLE.findall(http.path):
        *outer, field = variable.strip("{}").split("=")[0].split(".")
        holder: Any = request
        for name in outer:
            holder = getattr(holder, name)
        setattr(holder, field, value)
    for name, text in query.items():
        setattr(request, name, type(getattr(request, name))(text))
    path = PATH_VARIABLE.sub(value, http.path)
    body = {"json": {}, "headers": content_type(method, http)} if http.body else {}
    response = session.request(http.verb, path, params=query, **body)
    grpc_error = call_grpc(session, method.path, request.SerializeToString())
    return name_as_in_rest(grpc_error, method, query), parse_response(response)


def name_as_in_rest(error: Error, method: Method, query: Container[str] = ()) -> Error:
    """Returns an error whose violations have the names of the REST request: of the query, or of the JSON body."""
    if error is None:
        return None
    *others, violations, retry = error
    [http] = method.http

    def rename(path: str) -> str:
        name = path.removeprefix(f"{http.body}.")
        if name in query or method.is_oauth_endpoint:  # OAuth 2.0 names its parameters in snake case
            return name
        return re.sub("_([a-z])", lambda match: match[1].upper(), name)

    return (*others, sorted((rename(path), text) for path, text in violations), retry)


@pytest.mark.parametrize("method", WITH_TOKEN, ids=get_name)
@pytest.mark.parametrize(("token", "reason"), [("", "TOKEN_MISSING"), ("garbage", "TOKEN_INVALID")])
def test_missing_or_invalid_token_returns_the_same_error(
    system: Instance, method: Method, token: str, reason: str
) -> None:
    with Session.open(system, token) as anonymous:
        grpc_error, rest_error = call_both(anonymous, method, str(uuid4()))
    assert grpc_error == rest_error
    assert grpc_error
    assert grpc_error[2] == reason


@pytest.mark.parametrize("method", FOR_ADMINS, ids=get_name)
def test_missing_role_returns_the_same_error(user: Session, method: Method) -> None:
    grpc_error, rest_error = call_both(user, method, str(uuid4()))
    assert grpc_error == rest_error
    assert grpc_error
    assert grpc_error[2] == "ROLE_REQUIRED"


# An OperationOutcome does not name the field of a violation.
@pytest.mark.parametrize("method", [method for method in BOTH if not method.is_fhir], ids=get_name)
def test_invalid_id_returns_the_same_error(admin: Session, method: Method) -> None:
    grpc_error, rest_error = call_both(admin, method, "x")
    assert grpc_error == rest_error
    if method in WITH_ID:
        assert grpc_error
        assert (grpc_error[0], grpc_error[2]) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "FIELDS_INVALID")
        assert grpc_error[4]


# Requests of these methods are invalid without a resource, version or file. An OperationOutcome has no message then.
WITH_MORE = {"UpdateFhirPatient", "GetFhirPatientVersion", "DownloadFhirExport"}


@pytest.mark.parametrize("method", [method for method in WITH_ID if method.name not in WITH_MORE], ids=get_name)
def test_unknown_id_returns_the_same_error(admin: Session, method: Method) -> None:
    grpc_error, rest_error = call_both(admin, method, str(uuid4()))
    assert grpc_error == rest_error
    if method.name.startswith(("Get", "Delete")):
        assert grpc_error
        assert grpc_error[0] == grpc.StatusCode.NOT_FOUND.value[0]


PAGED = [method for method in BOTH if "page_size" in method.input.DESCRIPTOR.fields_by_name]


@pytest.mark.parametrize("method", PAGED, ids=get_name)
def test_invalid_page_size_returns_the_same_error(admin: Session, method: Method) -> None:
    grpc_error, rest_error = call_both(admin, method, str(uuid4()), page_size="-1")
    assert grpc_error == rest_error
    assert grpc_error
    assert grpc_error[4][0][0] == "page_size"


@pytest.mark.parametrize(("token", "reason"), [("garbage", "RESUME_TOKEN_INVALID"), ("x" * 129, "FIELDS_INVALID")])
def test_invalid_resume_token_returns_the_same_error(user: Session, token: str, reason: str) -> None:
    [method] = [method for method in BOTH if method.name == "WatchPatients"]
    grpc_error, rest_error = call_both(user, method, "", resume_token=token)
    assert grpc_error == rest_error
    assert grpc_error
    assert grpc_error[2] == reason


BODIES = [
    ("CreatePatient", a_patient(email="taken@clinic.test"), "EMAIL_ALREADY_EXISTS"),
    (
        "CreatePatient",
        a_patient(name="", email="nobody", address="x" * 201, dateOfBirth="2999-01-01"),
        "FIELDS_INVALID",
    ),
    ("SignUp", {"email": "admin@pulsetrack.local", "username": "x1", "password": PASSWORD}, "EMAIL_ALREADY_EXISTS"),
    ("SignUp", {"email": "new@clinic.test", "username": "", "password": "x"}, "FIELDS_INVALID"),
    ("Login", {"email": "admin@pulsetrack.local", "password": "a wrong password"}, "INVALID_CREDENTIALS"),
    ("RefreshToken", {"refreshToken": "x" * 43}, "REFRESH_TOKEN_INVALID"),
]


@pytest.mark.parametrize(("name", "body", "reason"), BODIES, ids=[f"{name} {reason}" for name, _, reason in BODIES])
def test_rejected_body_returns_the_same_error(user: Session, name: str, body: dict[str, Any], reason: str) -> None:
    [method] = [method for method in BOTH if method.name == name]
    [http] = method.http
    request = method.input()
    if reason == "EMAIL_ALREADY_EXISTS":
        user.rest.post(http.path, json=body)  # creates the conflicting resource if necessary
    ParseDict(body if http.body == "*" else {http.body: body}, request)
    rest_error = parse_response(user.rest.post(http.path, json=body))
    assert name_as_in_rest(call_grpc(user, method.path, request.SerializeToString()), method) == rest_error
    assert rest_error
    assert rest_error[2] == reason


QUERIES = [
    ("ListPatients", {"order_by": "email"}, "FIELDS_INVALID"),
    ("ListPatients", {"order_by": "name,"}, "FIELDS_INVALID"),
    ("ListPatients", {"query": "a\tb", "born_after": "1980"}, "FIELDS_INVALID"),
    ("ListPatients", {"page_token": "x"}, "PAGE_TOKEN_INVALID"),
    ("ListUsers", {"page_token": "x"}, "PAGE_TOKEN_INVALID"),
    ("ListBillingAccounts", {"patient_id": "x", "page_size": "-1"}, "FIELDS_INVALID"),
    ("ListPatientEvents", {"patient_id": "x"}, "FIELDS_INVALID"),
    ("SearchUserAccessEvents", {"actor_id": "\x00"}, "FIELDS_INVALID"),
    ("ListSecurityEvents", {"subject_id": "42"}, "FIELDS_INVALID"),
]


@pytest.mark.parametrize(("name", "query", "reason"), QUERIES, ids=[f"{row[0]} {' '.join(row[1])}" for row in QUERIES])
def test_rejected_query_returns_the_same_error(admin: Session, name: str, query: dict[str, str], reason: str) -> None:
    [method] = [method for method in BOTH if method.name == name]
    grpc_error, rest_error = call_both(admin, method, "", **query)
    assert grpc_error == rest_error
    assert rest_error
    assert rest_error[2] == reason


CHANGES = [
    ({}, "FIELDS_INVALID"),
    ({"phone": "112", "etag": "0"}, "ETAG_MISMATCH"),
    ({"name": "", "email": "x", "phone": "((("}, "FIELDS_INVALID"),
    ({"registeredDate": "1900-01-01"}, "FIELDS_INVALID"),
    ({"dateOfBirth": "9999-12-31"}, "FIELDS_INVALID"),
    ({"email": "taken@clinic.test"}, "EMAIL_ALREADY_EXISTS"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES, ids=[" ".join(row[0]) or "nothing" for row in CHANGES])
def test_rejected_change_returns_the_same_error(user: Session, change: dict[str, str], reason: str) -> None:
    [method] = [method for method in BOTH if method.name == "UpdatePatient"]
    user.rest.post("/v1/patients", json=a_patient(email="taken@clinic.test"))
    created = user.post("/v1/patients", a_patient())
    fields = {"patient": {**change, "id": created["id"]}, "updateMask": ",".join(change.keys() - {"etag"})}
    request = ParseDict(fields, method.input())
    rest_error = parse_response(user.rest.patch(f"/v1/patients/{created['id']}", json=change))
    assert name_as_in_rest(call_grpc(user, method.path, request.SerializeToString()), method) == rest_error
    assert rest_error
    assert rest_error[2] == reason


def test_unknown_route_is_unimplemented_in_grpc_and_not_found_in_rest(user: Session) -> None:
    grpc_error, rest_error = call_grpc(user, "/a.B/C", b""), parse_response(user.rest.get("/v1/nothing"))
    assert grpc_error
    assert rest_error
    assert (grpc_error[0], rest_error[0]) == (
        grpc.StatusCode.UNIMPLEMENTED.value[0],
        grpc.StatusCode.NOT_FOUND.value[0],
    )
    assert grpc_error[1:] == rest_error[1:]


def test_oversized_body_returns_the_same_error(user: Session) -> None:
    large = b" " * (MAX_MESSAGE_BYTES + 6)
    grpc_error, rest_error = (
        call_grpc(user, CREATE, large),
        parse_response(user.rest.post("/v1/patients", content=large)),
    )
    assert grpc_error == rest_error
    assert grpc_error
    assert grpc_error[2] == "BODY_TOO_LARGE"
