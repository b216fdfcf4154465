"""Tests that gRPC and REST return the same error code and reason, and that REST returns the right HTTP status."""

import base64
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import httpx
import pytest
from google.protobuf.json_format import ParseDict
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import StatusCode as Code

from envoy.replies import REPLIES
from services.common.errors import Failure
from services.common.protobuf.contract import MAX_MESSAGE_BYTES, PATH_VARIABLE, SERVICES, Method, all_methods
from tests.contract.elsewhere import ELSEWHERE
from tests.contract.failures import BOTH, Call, Clients
from tests.contract.test_names import to_camel_case
from tests.e2e.sessions import Session
from tests.harness.client import Rejected, attempt
from tests.harness.rest_errors import read_status
from tools.instance import Instance

METHODS = {method.name: method for method in all_methods()}
CODES = {code.value[0]: code for code in Code}


class RestCase(NamedTuple):
    """A request that fails only over REST, and the expected error."""

    reason: str
    code: Code
    http: int
    verb: str
    path: str
    body: bytes = b""


REST_ONLY = [
    RestCase("JSON_INVALID", Code.INVALID_ARGUMENT, 400, "POST", "/v1/patients", b'{"name": '),
    RestCase("QUERY_PARAMETER_UNKNOWN", Code.INVALID_ARGUMENT, 400, "GET", "/v1/patients?colour=red"),
    RestCase("QUERY_PARAMETER_INVALID", Code.INVALID_ARGUMENT, 400, "GET", "/v1/patients?pageSize=many"),
    RestCase("ROUTE_NOT_FOUND", Code.NOT_FOUND, 404, "GET", "/v1/nothing"),
    RestCase("METHOD_NOT_ALLOWED", Code.UNIMPLEMENTED, 405, "PUT", "/v1/patients"),
    RestCase("BODY_TOO_LARGE", Code.RESOURCE_EXHAUSTED, 413, "POST", "/v1/patients", b" " * (MAX_MESSAGE_BYTES + 6)),
    RestCase("REQUEST_INVALID", Code.INVALID_ARGUMENT, 400, "GET", "/v1%2Fpatients"),
]

GRPC_ONLY = [
    ("ROUTE_NOT_FOUND", Code.UNIMPLEMENTED, "/pulsetrack.patient.v1.PatientService/CurePatient", b""),
    ("BODY_TOO_LARGE", Code.RESOURCE_EXHAUSTED, METHODS["CreatePatient"].path, b" " * (MAX_MESSAGE_BYTES + 1)),
]


@pytest.fixture
def clients(system: Instance, user: Session, admin: Session) -> Iterator[Clients]:
    with Session.open(system) as anonymous, Session.open(system, "invented") as forger:
        yield Clients(user, admin, anonymous, forger)


@pytest.mark.parametrize(("reason", "code", "http", "prepare"), BOTH, ids=[row[0] for row in BOTH])
def test_grpc_and_rest_return_the_same_error(
    clients: Clients, reason: str, code: Code, http: int, prepare: Callable[[Clients], Call]
) -> None:
    client, name, request = prepare(clients)
    method = METHODS[name]
    message = ParseDict(request, method.input()).SerializeToString()
    assert call_grpc(client, method.path, message) == (code, reason)
    assert parse_error(call_rest(client, method, request)) == (code, reason, http)


@pytest.mark.parametrize("row", REST_ONLY, ids=lambda row: row.reason)
def test_rest_returns_the_error(user: Session, row: RestCase) -> None:
    headers = {"content-type": "application/json"} if row.body else {}
    response = user.rest.request(row.verb, row.path, content=row.body, headers=headers)
    assert parse_error(response) == (row.code, row.reason, row.http)


@pytest.mark.parametrize(("reason", "code", "path", "body"), GRPC_ONLY, ids=[row[0] for row in GRPC_ONLY])
def test_grpc_returns_the_error(user: Session, reason: str, code: Code, path: str, body: bytes) -> None:
    assert call_grpc(user, path, body) == (code, reason)


def test_every_reason_in_the_code_is_covered() -> None:
    for service in SERVICES:
        import_module(f"services.{service}.service")
    in_code = {reply.reason for reply in REPLIES} | {
        failure.reason for failure in find_failures(Failure) if failure.__module__.startswith("services.")
    }
    assert in_code == {row[0] for row in (*BOTH, *REST_ONLY, *GRPC_ONLY)} | ELSEWHERE.keys()


def find_failures(base: type[Failure]) -> set[type[Failure]]:
    """Returns all imported subclasses of a failure."""
    own = set(base.__subclasses__())
    return own.union(*(find_failures(each) for each in own))


def call_grpc(client: Session, path: str, message: bytes) -> tuple[Code, str]:
    """Makes a gRPC call and returns the code and reason of its error."""
    error = attempt(lambda: client.client("auth").call(path, message))
    assert isinstance(error, Rejected)
    return error.code, error.reason


def call_rest(client: Session, method: Method, request: dict[str, Any]) -> httpx.Response:
    """Makes a REST call. Places each field of the request in the path, query or body, as the binding requires."""
    [http] = method.http
    fields, path = dict(request), http.path
    body = None if not http.body else fields if http.body == "*" else fields.pop(http.body)
    for variable in PATH_VARIABLE.findall(http.path):
        name = to_camel_case(variable.strip("{}").rpartition(".")[2])
        value = (body if "." in variable else fields).pop(name)  # type: ignore[union-attr]
        path = path.replace(variable, value)
    query = {} if http.body == "*" else fields
    if method.takes_raw_body(http):
        body = json.loads(base64.b64decode(body["data"]))  # type: ignore[index]
    return client.rest.request(http.verb, path, json=body, params=query)


def parse_error(response: httpx.Response) -> tuple[Code, str, int]:
    """Returns the code, the reason and the HTTP status of an error response."""
    status, info = read_status(response), ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "pulsetrack"
    return CODES[status.code], info.reason, response.status_code
