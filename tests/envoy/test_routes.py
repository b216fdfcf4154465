"""Routes: every method is available by gRPC and REST, and other requests are rejected."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from services.common.protobuf.contract import SERVICES, AccessKind, Http, Method, all_methods
from tests.envoy.gateway import Gateway, error_reason, grpc_error_reason, method_named
from tests.harness.rest_bodies import content_type

METHODS = [pytest.param(method, id=method.name) for method in all_methods()]
BINDINGS = [
    pytest.param(method, http, id=f"{http.verb} {http.path}") for method in all_methods() for http in method.http
]


def example_path(http: Http) -> str:
    return re.sub(r"\{.*?\}", "x", http.path)


@pytest.mark.parametrize("method", METHODS)
def test_grpc_call_with_token_reaches_its_service(gateway: Gateway, method: Method) -> None:
    gateway.call(method.path, gateway.bearer)
    assert [call.path for call in gateway.received_calls()] == [method.path]


@pytest.mark.parametrize("method", METHODS)
def test_grpc_call_without_token_is_accepted_only_if_public(gateway: Gateway, method: Method) -> None:
    if method.access.kind is AccessKind.PUBLIC:
        gateway.call(method.path)
        assert [call.path for call in gateway.received_calls()] == [method.path]
        return
    with pytest.raises(grpc.RpcError) as rejected:
        gateway.call(method.path)
    assert rejected.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert grpc_error_reason(rejected.value) == "TOKEN_MISSING"
    assert not gateway.received_calls()


@pytest.mark.parametrize(("method", "http"), BINDINGS)
def test_rest_call_with_token_reaches_its_service(gateway: Gateway, method: Method, http: Http) -> None:
    headers = gateway.bearer | content_type(method, http)
    response = gateway.http.request(http.verb, example_path(http), json={} if http.body else None, headers=headers)
    assert response.is_success
    assert [call.path for call in gateway.received_calls()] == [method.path]


@pytest.mark.parametrize(("method", "http"), BINDINGS)
def test_rest_call_without_token_is_accepted_only_if_public(gateway: Gateway, method: Method, http: Http) -> None:
    headers = content_type(method, http)
    response = gateway.http.request(http.verb, example_path(http), json={} if http.body else None, headers=headers)
    if method.access.kind is AccessKind.PUBLIC:
        assert response.status_code == 200
        return
    assert (response.status_code, error_reason(response)) == (401, "TOKEN_MISSING")
    assert not gateway.received_calls()


@pytest.mark.parametrize(("method", "http"), BINDINGS)
def test_other_http_method_is_rejected_with_allowed_methods(gateway: Gateway, method: Method, http: Http) -> None:
    response = gateway.http.request("PATCH" if method.is_fhir else "PUT", example_path(http))
    assert (response.status_code, error_reason(response)) == (405, "METHOD_NOT_ALLOWED")
    assert http.verb in response.headers["allow"].split(", ")
    assert method.path not in [call.path for call in gateway.received_calls()]


@pytest.mark.parametrize("verb", ["QUERY", "PROPFIND", "NONSENSE"])
def test_unknown_http_method_is_rejected(gateway: Gateway, verb: str) -> None:
    response = gateway.http.request(verb, "/v1/patients")
    assert (response.status_code, error_reason(response)) == (405, "METHOD_NOT_ALLOWED")
    assert {"GET", "POST"} <= set(response.headers["allow"].split(", "))


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/patients/", "/v1/patients/x/y", "/v1/patients:x", "/V1/patients"])
def test_unknown_path_is_not_found(gateway: Gateway, path: str) -> None:
    for headers in ({}, gateway.bearer):
        response = gateway.http.get(path, headers=headers)
        assert (response.status_code, response.json()["code"], error_reason(response)) == (404, 5, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize("path", ["/a.B/C", f"/{SERVICES['patient']}/Nothing"])
def test_unknown_grpc_method_is_unimplemented(gateway: Gateway, path: str) -> None:
    with pytest.raises(grpc.RpcError) as rejected:
        gateway.call(path)
    assert rejected.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert grpc_error_reason(rejected.value) == "ROUTE_NOT_FOUND"


def test_open_stream_to_unknown_method_is_rejected_immediately(gateway: Gateway) -> None:
    done = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b""
        done.wait()

    method: Any = gateway.channel.stream_stream("/a.B/C")
    with pytest.raises(grpc.RpcError) as rejected:
        next(method(requests(), timeout=20))
    done.set()
    assert grpc_error_reason(rejected.value) == "ROUTE_NOT_FOUND"


def test_json_on_grpc_path_is_rejected(gateway: Gateway) -> None:
    response = gateway.http.post(method_named("CreateBillingAccount").path, json={}, headers=gateway.bearer)
    assert (response.status_code, error_reason(response)) == (404, "ROUTE_NOT_FOUND")
    assert not gateway.received_calls()


def test_idempotency_key_reaches_the_service(gateway: Gateway) -> None:
    headers = gateway.bearer | {"idempotency-key": "k-1"}
    gateway.http.post("/v1/patients", json={}, headers=headers)
    gateway.call(method_named("CreatePatient").path, headers)
    assert [call.metadata["idempotency-key"] for call in gateway.received_calls()] == ["k-1", "k-1"]


def test_plus_in_query_is_a_space_unless_escaped(gateway: Gateway) -> None:
    gateway.http.get("/v1/patients?query=a+b%20c%2Bd", headers=gateway.bearer)
    [call] = [each for each in gateway.received_calls() if each.path == method_named("ListPatients").path]
    assert call.request.query == "a b c+d"


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/v1/patients/7?id=8"),
        ("GET", "/v1/patients/7?%69d=8"),
        ("DELETE", "/v1/patients/7?etag=1&id=8"),
        ("GET", "/v1/patients/7/revisions?id=8"),
        ("POST", "/v1/patients/7:undelete?id=8"),
        ("PATCH", "/v1/patients/7?patient.id=8"),
        ("PATCH", "/v1/patients/7?updateMask=phone&patient.phone=9"),
        ("PATCH", "/v1/patients/7?update%4Dask=phone"),
        ("PATCH", "/v1/patients/7?updateMask.paths=phone"),
        ("PATCH", "/v1/users/7?user.role=ROLE_ADMIN"),
        ("POST", "/v1/patients?patient.name=Ana"),
        ("POST", "/v1/auth/login?email=a@x.test&password=secret"),
    ],
)
def test_parameters_cannot_replace_the_path_or_the_body(gateway: Gateway, verb: str, path: str) -> None:
    body: dict[str, str] | None = None if verb in {"GET", "DELETE"} else {}
    response = gateway.http.request(verb, path, json=body, headers=gateway.bearer)
    assert (response.status_code, error_reason(response)) == (400, "QUERY_PARAMETER_UNKNOWN")
    assert not gateway.received_calls()


@pytest.mark.parametrize("query", ["", "pageSize=1", "page_size=1&query=a%26id%3D8&", "orderBy=name&showDeleted=true"])
def test_parameters_of_the_method_are_accepted(gateway: Gateway, query: str) -> None:
    assert gateway.http.get(f"/v1/patients?{query}", headers=gateway.bearer).status_code == 200
