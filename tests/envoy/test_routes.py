"""Every method of the contract at each of its doors, and nothing else."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from services.common.protobuf.contract import SERVICES, AccessKind, Http, Method, all_methods
from tests.envoy.gateway import Gateway, native, native_reason, reason

METHODS = [pytest.param(method, id=method.name) for method in all_methods()]
BINDINGS = [
    pytest.param(method, http, id=f"{http.verb} {http.path}") for method in all_methods() for http in method.http
]


def path_of(http: Http) -> str:
    return re.sub(r"\{.*?\}", "x", http.path)


@pytest.mark.parametrize("method", METHODS)
def test_a_native_call_with_a_token_reaches_its_service(gateway: Gateway, method: Method) -> None:
    gateway.call(method.path, gateway.bearer)
    assert [call.path for call in gateway.arrived()] == [method.path]


@pytest.mark.parametrize("method", METHODS)
def test_a_native_call_without_a_token_is_let_in_only_if_public(gateway: Gateway, method: Method) -> None:
    if method.access.kind is AccessKind.PUBLIC:
        gateway.call(method.path)
        assert [call.path for call in gateway.arrived()] == [method.path]
        return
    with pytest.raises(grpc.RpcError) as refused:
        gateway.call(method.path)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert native_reason(refused.value) == "TOKEN_MISSING"
    assert not gateway.arrived()


@pytest.mark.parametrize(("method", "http"), BINDINGS)
def test_a_rest_call_with_a_token_reaches_its_service(gateway: Gateway, method: Method, http: Http) -> None:
    answer = gateway.http.request(http.verb, path_of(http), json={} if http.body else None, headers=gateway.bearer)
    assert answer.status_code == 200
    assert [call.path for call in gateway.arrived()] == [method.path]


@pytest.mark.parametrize(("method", "http"), BINDINGS)
def test_a_rest_call_without_a_token_is_let_in_only_if_public(gateway: Gateway, method: Method, http: Http) -> None:
    answer = gateway.http.request(http.verb, path_of(http), json={} if http.body else None)
    if method.access.kind is AccessKind.PUBLIC:
        assert answer.status_code == 200
        return
    assert (answer.status_code, reason(answer)) == (401, "TOKEN_MISSING")
    assert not gateway.arrived()


@pytest.mark.parametrize(("method", "http"), BINDINGS)
def test_another_verb_is_refused_with_the_verbs_that_there_are(gateway: Gateway, method: Method, http: Http) -> None:
    answer = gateway.http.put(path_of(http))
    assert (answer.status_code, reason(answer)) == (405, "METHOD_NOT_ALLOWED")
    assert http.verb in answer.headers["allow"].split(", ")
    assert method.path not in [call.path for call in gateway.arrived()]


@pytest.mark.parametrize("verb", ["QUERY", "PROPFIND", "NONSENSE"])
def test_a_verb_that_no_path_knows_is_refused_as_any_other(gateway: Gateway, verb: str) -> None:
    answer = gateway.http.request(verb, "/v1/patients")
    assert (answer.status_code, reason(answer)) == (405, "METHOD_NOT_ALLOWED")
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/patients/", "/v1/patients/x/y", "/v1/patients:x", "/V1/patients"])
def test_an_unknown_path_is_not_found_with_or_without_a_token(gateway: Gateway, path: str) -> None:
    for headers in ({}, gateway.bearer):
        answer = gateway.http.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"], reason(answer)) == (404, 5, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize("path", ["/a.B/C", f"/{SERVICES['patient']}/Nothing"])
def test_an_unknown_native_method_is_unimplemented(gateway: Gateway, path: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        gateway.call(path)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert native_reason(refused.value) == "ROUTE_NOT_FOUND"


def test_a_stream_to_an_unknown_method_is_refused_without_waiting_for_its_end(gateway: Gateway) -> None:
    over = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b""
        over.wait()

    method: Any = gateway.channel.stream_stream("/a.B/C")
    with pytest.raises(grpc.RpcError) as refused:
        next(method(requests(), timeout=20))
    over.set()
    assert native_reason(refused.value) == "ROUTE_NOT_FOUND"


def test_json_does_not_reach_a_native_path(gateway: Gateway) -> None:
    answer = gateway.http.post(native("CreateBillingAccount").path, json={}, headers=gateway.bearer)
    assert (answer.status_code, reason(answer)) == (404, "ROUTE_NOT_FOUND")
    assert not gateway.arrived()


def test_the_idempotency_key_reaches_the_service_at_both_doors(gateway: Gateway) -> None:
    headers = gateway.bearer | {"idempotency-key": "k-1"}
    gateway.http.post("/v1/patients", json={}, headers=headers)
    gateway.call(native("CreatePatient").path, headers)
    assert [call.metadata["idempotency-key"] for call in gateway.arrived()] == ["k-1", "k-1"]


def test_a_plus_in_a_query_is_a_space_and_an_escaped_one_a_plus(gateway: Gateway) -> None:
    gateway.http.get("/v1/patients?query=a+b%20c%2Bd", headers=gateway.bearer)
    [listed] = [call for call in gateway.arrived() if call.path == native("ListPatients").path]
    assert listed.request.query == "a b c+d"
