"""The same failure at both doors, native gRPC and REST: the same google.rpc.Status, whoever made it."""

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
from tools.instance import Instance

BOTH = [method for method in all_methods() if method.http]
WITH_TOKEN = [method for method in BOTH if method.access.kind is AccessKind.USERS]
FOR_ADMINS = [method for method in WITH_TOKEN if "USER" not in method.access.roles]
ABOUT_ONE = [method for method in BOTH if PATH_VARIABLE.search(method.http[0].path)]
CREATE = "/pulsetrack.patient.v1.PatientService/CreatePatient"

Answer = tuple[Any, ...] | None
"""What a caller is told: code, message, reason, its metadata, violations, when to retry. None if all is well."""


def by_name(method: Method) -> str:
    return method.name


def told(status: Status) -> Answer:
    """Returns what a status says, without the id of its request. Fails if it says more than the contract knows."""
    info, bad, request, retry = ErrorInfo(), BadRequest(), RequestInfo(), RetryInfo()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(bad) or detail.Unpack(request) or detail.Unpack(retry)
    violations = sorted((violation.field, violation.description) for violation in bad.field_violations)
    assert info.domain == "pulsetrack"
    return status.code, status.message, info.reason, dict(info.metadata), violations, retry.retry_delay.seconds


def native(session: Session, path: str, request: bytes) -> Answer:
    """Returns what a native call is told."""
    answer = attempt(lambda: session.client("auth").call(path, request))
    if not isinstance(answer, Rejected):
        return None
    assert (answer.status.code, answer.status.message) == (answer.code.value[0], answer.message)
    return told(answer.status)


def json_of(answer: httpx.Response) -> Answer:
    """Returns what a REST call is told."""
    return told(ParseDict(answer.json(), Status())) if answer.is_error else None


def both(session: Session, method: Method, value: str, **query: str) -> tuple[Answer, Answer]:
    """Makes a call at each door, with a value for each variable in the path and nothing else but a query."""
    [http] = method.http
    request = method.input()
    if http.body and http.body != "*":
        getattr(request, http.body).SetInParent()
    for variable in PATH_VARIABLE.findall(http.path):
        *outer, field = variable.strip("{}").split("=")[0].split(".")
        holder: Any = request
        for name in outer:
            holder = getattr(holder, name)
        setattr(holder, field, value)
    for name, text in query.items():
        setattr(request, name, type(getattr(request, name))(text))
    path = PATH_VARIABLE.sub(value, http.path)
    answer = session.request(http.verb, path, json={} if http.body else None, params=query)
    return native(session, method.path, request.SerializeToString()), json_of(answer)


@pytest.mark.parametrize("method", WITH_TOKEN, ids=by_name)
@pytest.mark.parametrize(("token", "reason"), [("", "TOKEN_MISSING"), ("garbage", "TOKEN_INVALID")])
def test_missing_or_invalid_token_returns_the_same_error(
    system: Instance, method: Method, token: str, reason: str
) -> None:
    with Session.open(system, token) as anonymous:
        at_native, at_rest = both(anonymous, method, str(uuid4()))
    assert at_native == at_rest
    assert at_native
    assert at_native[2] == reason


@pytest.mark.parametrize("method", FOR_ADMINS, ids=by_name)
def test_missing_role_returns_the_same_error(user: Session, method: Method) -> None:
    at_native, at_rest = both(user, method, str(uuid4()))
    assert at_native == at_rest
    assert at_native
    assert at_native[2] == "ROLE_REQUIRED"


@pytest.mark.parametrize("method", BOTH, ids=by_name)
def test_invalid_id_returns_the_same_error(admin: Session, method: Method) -> None:
    at_native, at_rest = both(admin, method, "x")
    assert at_native == at_rest
    if method in ABOUT_ONE:
        assert at_native
        assert (at_native[0], at_native[2]) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "FIELDS_INVALID")
        assert at_native[4]


@pytest.mark.parametrize("method", ABOUT_ONE, ids=by_name)
def test_unknown_id_returns_the_same_error(admin: Session, method: Method) -> None:
    at_native, at_rest = both(admin, method, str(uuid4()))
    assert at_native == at_rest
    if method.name.startswith(("Get", "Delete")):
        assert at_native
        assert at_native[0] == grpc.StatusCode.NOT_FOUND.value[0]


PAGED = [method for method in BOTH if "page_size" in method.input.DESCRIPTOR.fields_by_name]


@pytest.mark.parametrize("method", PAGED, ids=by_name)
def test_invalid_page_size_returns_the_same_error(admin: Session, method: Method) -> None:
    at_native, at_rest = both(admin, method, str(uuid4()), page_size="-1")
    assert at_native == at_rest
    assert at_native
    assert at_native[4][0][0] == "page_size"


@pytest.mark.parametrize(("token", "reason"), [("garbage", "RESUME_TOKEN_INVALID"), ("x" * 129, "FIELDS_INVALID")])
def test_invalid_resume_token_returns_the_same_error(user: Session, token: str, reason: str) -> None:
    [method] = [method for method in BOTH if method.name == "WatchPatients"]
    at_native, at_rest = both(user, method, "", resume_token=token)
    assert at_native == at_rest
    assert at_native
    assert at_native[2] == reason


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
        user.rest.post(http.path, json=body)  # from now on, if not before
    ParseDict(body if http.body == "*" else {http.body: body}, request)
    at_rest = json_of(user.rest.post(http.path, json=body))
    assert native(user, method.path, request.SerializeToString()) == at_rest
    assert at_rest
    assert at_rest[2] == reason


def test_unknown_route_is_unimplemented_in_grpc_and_not_found_in_rest(user: Session) -> None:
    at_native, at_rest = native(user, "/a.B/C", b""), json_of(user.rest.get("/v1/nothing"))
    assert at_native
    assert at_rest
    assert (at_native[0], at_rest[0]) == (grpc.StatusCode.UNIMPLEMENTED.value[0], grpc.StatusCode.NOT_FOUND.value[0])
    assert at_native[1:] == at_rest[1:]


def test_oversized_body_returns_the_same_error(user: Session) -> None:
    large = b" " * (MAX_MESSAGE_BYTES + 6)
    at_native, at_rest = native(user, CREATE, large), json_of(user.rest.post("/v1/patients", content=large))
    assert at_native == at_rest
    assert at_native
    assert at_native[2] == "BODY_TOO_LARGE"
