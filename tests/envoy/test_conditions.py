"""ETag and conditional requests at the gateway."""

from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from services.common.errors import Failure, TransactionConflict
from services.patient.errors import EtagMismatch, PatientNotFound
from tests.envoy.gateway import Gateway, error_reason, method_named

PATIENT = method_named("GetPatient").output
PATH = "/v1/patients/0193a1b2-0000-7000-8000-000000000000"
RESOURCE_CALLS = [
    ("POST", "/v1/patients", "CreatePatient"),
    ("GET", PATH, "GetPatient"),
    ("HEAD", PATH, "GetPatient"),
    ("PATCH", PATH, "UpdatePatient"),
    ("DELETE", PATH, "DeletePatient"),
    ("POST", f"{PATH}:undelete", "UndeletePatient"),
]


def respond_with(gateway: Gateway, **fields: str) -> None:
    """Makes the stub return a patient with these fields from each method."""
    for _, _, name in RESOURCE_CALLS:
        gateway.stubs["patient"].responses[name] = lambda _request, _context: PATIENT(**fields)


@pytest.fixture
def patients(gateway: Gateway) -> Gateway:
    respond_with(gateway, id="7", name='"etag":"9"', etag="3")
    return gateway


def send(gateway: Gateway, verb: str, path: str, headers: Any = ()) -> Any:
    body = {"name": "Ana"} if verb == "PATCH" or path == "/v1/patients" else {} if path.endswith("undelete") else None
    return gateway.http.request(verb, path, json=body, headers=[*gateway.bearer.items(), *headers])


@pytest.mark.parametrize(("verb", "path", "name"), RESOURCE_CALLS)
def test_response_with_a_resource_has_its_etag(patients: Gateway, verb: str, path: str, name: str) -> None:
    response = send(patients, verb, path)
    assert (response.status_code, response.headers["etag"]) == (200, '"3"')


def test_large_response_keeps_its_etag(patients: Gateway) -> None:
    respond_with(patients, etag="3", address="a" * 4000)
    response = send(patients, "GET", PATH, [("accept-encoding", "gzip")])
    assert (response.headers["etag"], len(response.json()["address"])) == ('"3"', 4000)


@pytest.mark.parametrize("verb", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "values", [['"3"'], ['W/"3"'], ["*"], ['"1", W/"3"'], ['"1"', '"3"'], [', "3" ,,"x,y"']], ids="|".join
)
def test_current_etag_in_if_none_match_returns_304(patients: Gateway, verb: str, values: list[str]) -> None:
    response = send(patients, verb, PATH, [("if-none-match", value) for value in values])
    assert (response.status_code, response.headers["etag"], response.content) == (304, '"3"', b"")
    assert "content-type" not in response.headers
    assert len(patients.received_calls()) == 1


@pytest.mark.parametrize("value", ['"4"', '"33"', '""', 'W/"13"', '"*"', '"1","2"', '"W/3"'])
def test_other_etag_in_if_none_match_returns_the_resource(patients: Gateway, value: str) -> None:
    response = send(patients, "GET", PATH, [("if-none-match", value)])
    assert (response.status_code, response.json()["etag"], response.headers["etag"]) == (200, "3", '"3"')


def test_connection_is_usable_after_304(patients: Gateway) -> None:
    for _ in range(3):
        assert send(patients, "GET", PATH, [("if-none-match", '"3"')]).status_code == 304
        assert send(patients, "GET", PATH).json()["etag"] == "3"


@pytest.mark.parametrize("header", ["if-match", "if-none-match"])
@pytest.mark.parametrize("value", ["3", '"3', '3"', "", '"3" "4"', '*, "3"', 'w/"3"', "W/3", '"a b"', "**", '"\x80"'])
def test_malformed_condition_is_rejected(patients: Gateway, header: str, value: str) -> None:
    verb = "GET" if header == "if-none-match" else "DELETE"
    response = send(patients, verb, PATH, [(header.encode(), value.encode("latin-1"))])
    assert (response.status_code, error_reason(response)) == (400, "REQUEST_INVALID")
    assert not patients.received_calls()


def test_malformed_condition_without_a_token_is_unauthenticated(patients: Gateway) -> None:
    response = patients.http.get(PATH, headers={"if-none-match": "3"})
    assert (response.status_code, error_reason(response)) == (401, "TOKEN_MISSING")


@pytest.mark.parametrize(("verb", "path", "name"), RESOURCE_CALLS[3:])
def test_if_match_reaches_the_service(patients: Gateway, verb: str, path: str, name: str) -> None:
    assert send(patients, verb, path, [("if-match", '"1", W/"2"')]).headers["etag"] == '"3"'
    [call] = patients.received_calls()
    assert (call.path.rpartition("/")[2], call.metadata["if-match"]) == (name, '"1", W/"2"')


@pytest.mark.parametrize(
    ("failure", "condition", "status"),
    [
        (EtagMismatch, '"3"', 412),
        (EtagMismatch, None, 409),
        (TransactionConflict, '"3"', 409),
        (PatientNotFound, "*", 404),
    ],
)
@pytest.mark.parametrize("call", RESOURCE_CALLS[3:])
def test_mismatch_of_if_match_returns_412(
    patients: Gateway, call: tuple[str, str, str], failure: type[Failure], condition: str | None, status: int
) -> None:
    verb, path, name = call
    patients.stubs["patient"].responses[name] = fail_with(failure())
    response = send(patients, verb, path, [("if-match", condition)] if condition else [])
    assert (response.status_code, response.json()["details"][0]["reason"]) == (status, failure.reason)
    assert "etag" not in response.headers


def test_grpc_response_has_no_etag_header(patients: Gateway) -> None:
    method: Any = patients.channel.unary_unary(method_named("GetPatient").path)
    _, call = method.with_call(b"", metadata=[*patients.bearer.items()], timeout=10)
    assert "etag" not in {item.key for item in (*call.initial_metadata(), *call.trailing_metadata())}


def fail_with(failure: Failure) -> Any:
    """Returns a handler that fails as the interceptor `Errors` does."""
    status = failure.status("1")

    def handle(_request: Message, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(failure.code, failure.message)

    return handle
