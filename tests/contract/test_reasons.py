"""Reasons: each is provoked at both doors, and comes with the same code, and with its HTTP status at the REST door."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from google.protobuf.json_format import ParseDict
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode as Code

from envoy.replies import REPLIES
from services.common.contract import MAX_MESSAGE_BYTES, PATH_VARIABLE, SERVICES, Method, all_methods
from services.common.errors import Failure
from tests.contract.elsewhere import ELSEWHERE
from tests.e2e.people import PASSWORD, Person, a_patient
from tests.harness.client import Refused, outcome
from tools.copy import Copy

METHODS = {method.name: method for method in all_methods()}
CODES = {code.value[0]: code for code in Code}


class Scene(NamedTuple):
    """Who is there to be refused."""

    user: Person
    admin: Person
    nobody: Person
    forger: Person


class Call(NamedTuple):
    """A call that is refused: the fields of the method's message, as JSON."""

    person: Person
    method: str
    request: dict[str, Any]


def field_broken(scene: Scene) -> Call:
    return Call(scene.user, "GetPatient", {"id": "no uuid"})


def page_token_changed(scene: Scene) -> Call:
    return Call(scene.user, "ListPatients", {"pageToken": "A"})


def request_id_used(scene: Scene) -> Call:
    used = str(uuid4())
    scene.user.rest.post("/v1/patients", json=a_patient(), params={"requestId": used}).raise_for_status()
    return Call(scene.user, "CreatePatient", {"patient": a_patient(), "requestId": used})


def token_forgotten(scene: Scene) -> Call:
    return Call(scene.nobody, "GetPatient", {"id": str(uuid4())})


def token_invented(scene: Scene) -> Call:
    return Call(scene.forger, "GetPatient", {"id": str(uuid4())})


def password_wrong(scene: Scene) -> Call:
    return Call(scene.user, "Login", {"email": f"{uuid4()}@clinic.test", "password": "something else"})


def refresh_token_invented(scene: Scene) -> Call:
    return Call(scene.user, "RefreshToken", {"refreshToken": "invented"})


def role_lacking(scene: Scene) -> Call:
    return Call(scene.user, "DeletePatient", {"id": str(uuid4())})


def user_disabled(scene: Scene) -> Call:
    new = a_new_user(scene)
    scene.admin.rest.patch(f"/v1/users/{new['id']}", json={"disabled": True}).raise_for_status()
    return Call(scene.user, "Login", {"email": new["email"], "password": PASSWORD})


def patient_unknown(scene: Scene) -> Call:
    return Call(scene.user, "GetPatient", {"id": str(uuid4())})


def user_unknown(scene: Scene) -> Call:
    return Call(scene.admin, "UpdateUser", {"user": {"id": str(uuid4()), "disabled": True}})


def account_unknown(scene: Scene) -> Call:
    return Call(scene.user, "GetBillingAccount", {"id": str(uuid4())})


def letter_unknown(scene: Scene) -> Call:
    return Call(scene.admin, "ReplayDeadLetter", {"id": str(uuid4())})


def email_taken(scene: Scene) -> Call:
    created = scene.user.post("/v1/patients", a_patient())
    return Call(scene.user, "CreatePatient", {"patient": a_patient(email=created["email"].upper())})


def username_taken(scene: Scene) -> Call:
    new = a_new_user(scene)
    another = {"email": f"{uuid4()}@clinic.test", "username": new["username"], "password": PASSWORD}
    return Call(scene.user, "SignUp", another)


def record_number_taken(scene: Scene) -> Call:
    number = str(uuid4())
    scene.user.post("/v1/patients", a_patient(medicalRecordNumber=number))
    return Call(scene.user, "CreatePatient", {"patient": a_patient(medicalRecordNumber=number)})


def etag_stale(scene: Scene) -> Call:
    created = scene.user.post("/v1/patients", a_patient())
    return Call(scene.user, "UpdatePatient", {"patient": {"id": created["id"], "phone": "112", "etag": "0"}})


def guessed_too_often(scene: Scene) -> Call:
    guess = {"email": f"{uuid4()}@clinic.test", "password": "something else"}
    for _ in range(10):
        assert scene.user.rest.post("/v1/auth/login", json=guess).status_code == 401
    return Call(scene.user, "Login", guess)


BOTH: list[tuple[str, Code, int, Callable[[Scene], Call]]] = [
    ("FIELDS_INVALID", Code.INVALID_ARGUMENT, 400, field_broken),
    ("PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT, 400, page_token_changed),
    ("REQUEST_ID_REUSED", Code.INVALID_ARGUMENT, 400, request_id_used),
    ("TOKEN_MISSING", Code.UNAUTHENTICATED, 401, token_forgotten),
    ("TOKEN_INVALID", Code.UNAUTHENTICATED, 401, token_invented),
    ("INVALID_CREDENTIALS", Code.UNAUTHENTICATED, 401, password_wrong),
    ("REFRESH_TOKEN_INVALID", Code.UNAUTHENTICATED, 401, refresh_token_invented),
    ("ROLE_REQUIRED", Code.PERMISSION_DENIED, 403, role_lacking),
    ("USER_DISABLED", Code.PERMISSION_DENIED, 403, user_disabled),
    ("PATIENT_NOT_FOUND", Code.NOT_FOUND, 404, patient_unknown),
    ("USER_NOT_FOUND", Code.NOT_FOUND, 404, user_unknown),
    ("BILLING_ACCOUNT_NOT_FOUND", Code.NOT_FOUND, 404, account_unknown),
    ("DEAD_LETTER_NOT_FOUND", Code.NOT_FOUND, 404, letter_unknown),
    ("EMAIL_ALREADY_EXISTS", Code.ALREADY_EXISTS, 409, email_taken),
    ("USERNAME_ALREADY_EXISTS", Code.ALREADY_EXISTS, 409, username_taken),
    ("RECORD_NUMBER_ALREADY_EXISTS", Code.ALREADY_EXISTS, 409, record_number_taken),
    ("ETAG_MISMATCH", Code.ABORTED, 409, etag_stale),
    ("RATE_LIMITED", Code.RESOURCE_EXHAUSTED, 429, guessed_too_often),
]


class AtRest(NamedTuple):
    """A request that only the REST door can refuse, and how it does."""

    reason: str
    code: Code
    http: int
    verb: str
    path: str
    body: bytes = b""


AT_REST = [
    AtRest("JSON_INVALID", Code.INVALID_ARGUMENT, 400, "POST", "/v1/patients", b'{"name": '),
    AtRest("QUERY_PARAMETER_UNKNOWN", Code.INVALID_ARGUMENT, 400, "GET", "/v1/patients?colour=red"),
    AtRest("QUERY_PARAMETER_INVALID", Code.INVALID_ARGUMENT, 400, "GET", "/v1/patients?pageSize=many"),
    AtRest("ROUTE_NOT_FOUND", Code.NOT_FOUND, 404, "GET", "/v1/nothing"),
    AtRest("METHOD_NOT_ALLOWED", Code.UNIMPLEMENTED, 405, "PUT", "/v1/patients"),
    AtRest("BODY_TOO_LARGE", Code.RESOURCE_EXHAUSTED, 413, "POST", "/v1/patients", b" " * (MAX_MESSAGE_BYTES + 6)),
    AtRest("REQUEST_INVALID", Code.INVALID_ARGUMENT, 400, "GET", "/v1%2Fpatients"),
]

AT_NATIVE = [
    ("ROUTE_NOT_FOUND", Code.UNIMPLEMENTED, "/pulsetrack.patient.v1.PatientService/CurePatient", b""),
    ("BODY_TOO_LARGE", Code.RESOURCE_EXHAUSTED, METHODS["CreatePatient"].path, b" " * (MAX_MESSAGE_BYTES + 1)),
]


@pytest.fixture
def scene(system: Copy, user: Person, admin: Person) -> Iterator[Scene]:
    with Person.nobody(system) as nobody, Person.nobody(system, "invented") as forger:
        yield Scene(user, admin, nobody, forger)


@pytest.mark.parametrize(("reason", "code", "http", "provoke"), BOTH, ids=[row[0] for row in BOTH])
def test_a_reason_at_both_doors(
    scene: Scene, reason: str, code: Code, http: int, provoke: Callable[[Scene], Call]
) -> None:
    person, name, request = provoke(scene)
    method = METHODS[name]
    message = ParseDict(request, method.input()).SerializeToString()
    assert native(person, method.path, message) == (code, reason)
    assert told(at_rest(person, method, request)) == (code, reason, http)


@pytest.mark.parametrize("row", AT_REST, ids=lambda row: row.reason)
def test_a_reason_at_the_rest_door(user: Person, row: AtRest) -> None:
    headers = {"content-type": "application/json"} if row.body else {}
    answer = user.rest.request(row.verb, row.path, content=row.body, headers=headers)
    assert told(answer) == (row.code, row.reason, row.http)


@pytest.mark.parametrize(("reason", "code", "path", "body"), AT_NATIVE, ids=[row[0] for row in AT_NATIVE])
def test_a_reason_at_the_native_door(user: Person, reason: str, code: Code, path: str, body: bytes) -> None:
    assert native(user, path, body) == (code, reason)


def test_every_reason_in_the_code_is_in_a_table() -> None:
    for service in SERVICES:
        import_module(f"services.{service}.service")
    in_code = {reply.reason for reply in REPLIES} | {
        failure.reason for failure in failures(Failure) if failure.__module__.startswith("services.")
    }
    assert in_code == {row[0] for row in (*BOTH, *AT_REST, *AT_NATIVE)} | ELSEWHERE.keys()


def failures(base: type[Failure]) -> set[type[Failure]]:
    """Returns the classes of failures that have been imported."""
    own = set(base.__subclasses__())
    return own.union(*(failures(each) for each in own))


def native(person: Person, path: str, message: bytes) -> tuple[Code, str]:
    """Returns how a native call is refused."""
    refused = outcome(lambda: person.client("auth").call(path, message))
    assert isinstance(refused, Refused)
    return refused.code, refused.reason


def at_rest(person: Person, method: Method, request: dict[str, Any]) -> httpx.Response:
    """Makes a call at the REST door, with the fields of its message where its binding has them."""
    [http] = method.http
    fields, path = dict(request), http.path
    body = None if not http.body else fields if http.body == "*" else fields.pop(http.body)
    for variable in PATH_VARIABLE.findall(http.path):
        value = (body if "." in variable else fields).pop(variable.strip("{}").rpartition(".")[2])  # type: ignore[union-attr]
        path = path.replace(variable, value)
    query = {} if http.body == "*" else fields
    return person.rest.request(http.verb, path, json=body, params=query)


def told(answer: httpx.Response) -> tuple[Code, str, int]:
    """Returns how a REST call is refused."""
    status, info = ParseDict(answer.json(), Status()), ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "pulsetrack"
    return CODES[status.code], info.reason, answer.status_code


def a_new_user(scene: Scene) -> dict[str, Any]:
    """Signs somebody up."""
    name = uuid4().hex
    new = {"email": f"{name}@clinic.test", "username": name, "password": PASSWORD}
    user: dict[str, Any] = scene.user.post("/v1/auth/signup", new)
    return user
