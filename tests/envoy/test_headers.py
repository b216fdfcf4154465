"""Headers that reach a service, and errors for invalid headers."""

import re
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest

from envoy.extension import Config, extension
from envoy.headers import regex_excluding
from tests.envoy.gateway import Gateway, error_reason, grpc_error_reason, has_status, method_named, run_gateway
from tests.harness.waiting import eventually

GET_PATIENT = method_named("GetPatient").path
FORWARDED = {
    "authorization",
    "content-length",
    "grpc-accept-encoding",
    "idempotency-key",
    "user-agent",
    "x-envoy-original-method",
    "x-envoy-original-path",
    "x-remote-address",
    "x-request-id",
}


@pytest.mark.parametrize("name", ["te", "tea", "user-agent"])
def test_excluded_name_does_not_match(name: str) -> None:
    assert not re.fullmatch(regex_excluding(["te", "tea", "user-agent"]), name)


@pytest.mark.parametrize("name", ["", "t", "teas", "ta", "user-agent-", "user.agent", "x", "User-agent"])
def test_other_name_matches(name: str) -> None:
    assert re.fullmatch(regex_excluding(["te", "tea", "user-agent"]), name)


UNKNOWN = {"cookie": "a=b", "x_tenant_id": "7", "x-trace-bin": "!!", "grpc-tags-bin": "AAAA", "grpc-status": "x"}


def test_only_known_headers_reach_a_service(gateway: Gateway) -> None:
    gateway.http.get("/v1/patients/x", headers=gateway.bearer | UNKNOWN)
    gateway.call(GET_PATIENT, gateway.bearer | {"x_tenant_id": "7", "x-tenant": "7"})
    assert len(gateway.received_calls()) == 2
    for call in gateway.received_calls():
        assert call.metadata.keys() <= FORWARDED


def test_any_accepted_compression_name_is_valid(gateway: Gateway) -> None:
    gateway.http.get("/v1/patients/x", headers=gateway.bearer | {"grpc-accept-encoding": "gzip,x-SNAPPY_framed"})
    assert gateway.received_calls()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grpc-timeout", b"x"),
        ("grpc-timeout", b"123456789S"),
        ("grpc-encoding", b"banana"),
        ("grpc-accept-encoding", b"\xe9"),
        ("user-agent", "é".encode()),
        ("idempotency-key", b"\xe9"),
    ],
)
def test_invalid_value_of_known_header_is_rejected(gateway: Gateway, name: str, value: bytes) -> None:
    headers = [(b"authorization", gateway.bearer["authorization"].encode()), (name.encode(), value)]
    response = gateway.http.get("/v1/patients/x", headers=headers)
    assert (response.status_code, error_reason(response)) == (400, "REQUEST_INVALID")
    assert not gateway.received_calls()


def test_non_ascii_token_is_rejected(gateway: Gateway) -> None:
    response = gateway.http.get("/.well-known/jwks.json", headers={b"authorization": b"Bearer \xe9"})
    assert (response.status_code, error_reason(response)) == (401, "TOKEN_INVALID")


@pytest.mark.parametrize("verb", ["GET", "HEAD", "DELETE", "OPTIONS", "PUT"])
@pytest.mark.parametrize("path", [GET_PATIENT, "/grpc.health.v1.Health/Check"])
def test_grpc_path_allows_only_post(gateway: Gateway, verb: str, path: str) -> None:
    response = gateway.http.request(verb, path, headers=gateway.bearer)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert verb == "HEAD" or error_reason(response) == "METHOD_NOT_ALLOWED"
    as_grpc = gateway.http.request(verb, path, headers=gateway.bearer | {"content-type": "application/grpc"})
    assert as_grpc.headers["grpc-status"] == "12"
    assert as_grpc.headers["grpc-status-details-bin"]
    assert not gateway.received_calls()


def test_preflight_with_empty_headers_is_rejected(gateway: Gateway) -> None:
    response = gateway.http.options("/v1/patients", headers={"origin": "", "access-control-request-method": ""})
    assert (response.status_code, error_reason(response)) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("path", ["/v1/patients/x", "/.well-known/jwks.json"])
@pytest.mark.parametrize("content", ["application/grpc", "application/grpc-web", "application/grpcx"])
def test_grpc_on_rest_path_is_rejected(gateway: Gateway, path: str, content: str) -> None:
    gateway.http.get(path, headers=gateway.bearer | {"content-type": content})
    assert not gateway.received_calls()


@pytest.mark.parametrize("path", [GET_PATIENT, method_named("GetJwks").path, "/grpc.health.v1.Health/Check"])
@pytest.mark.parametrize("body", [b"", b"\x00\x00"])
def test_call_without_message_is_rejected_immediately(gateway: Gateway, path: str, body: bytes) -> None:
    headers = gateway.bearer | {"content-type": "application/grpc"}
    response = gateway.http.post(path, content=body, headers=headers, timeout=5)
    assert (response.headers["grpc-status"], response.headers["grpc-message"]) == ("3", "The gRPC call has no message.")
    assert not gateway.received_calls()


def test_call_closed_before_its_message_is_rejected(gateway: Gateway) -> None:
    method: Any = gateway.channel.stream_unary(GET_PATIENT)
    with pytest.raises(grpc.RpcError) as rejected:
        method(iter(()), metadata=[*gateway.bearer.items()], timeout=5)
    assert rejected.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert grpc_error_reason(rejected.value) == "REQUEST_INVALID"


def test_more_than_100_headers_are_rejected(gateway: Gateway) -> None:
    many = {f"x-{n}": "1" for n in range(100)}
    response = gateway.http.get("/v1/patients", headers=gateway.bearer | many)
    assert (response.status_code, error_reason(response)) == (431, "HEADERS_TOO_LARGE")
    with pytest.raises(grpc.RpcError) as rejected:
        gateway.call(GET_PATIENT, gateway.bearer | many)
    assert rejected.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert grpc_error_reason(rejected.value) == "HEADERS_TOO_LARGE"


@pytest.mark.parametrize("kilobytes", [9.5, 13, 31])
def test_headers_up_to_32_kib_are_accepted(gateway: Gateway, kilobytes: float) -> None:
    headers = gateway.bearer | {"cookie": "a" * int(kilobytes * 1000)}
    assert gateway.http.get("/v1/patients/x", headers=headers).status_code == 200
    gateway.call(GET_PATIENT, headers)


def test_headers_over_32_kib_are_rejected(gateway: Gateway) -> None:
    headers = gateway.bearer | {"cookie": "a" * 33_000}
    response = gateway.http.get("/v1/patients/x", headers=headers)
    assert (response.status_code, error_reason(response)) == (431, "HEADERS_TOO_LARGE")
    with pytest.raises(grpc.RpcError) as rejected:
        gateway.call(GET_PATIENT, headers)
    assert grpc_error_reason(rejected.value) == "HEADERS_TOO_LARGE"


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n", (b"405", b"METHOD_NOT_ALLOWED")),
        (
            b"POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n",
            (b"400", b"REQUEST_INVALID"),
        ),
    ],
    ids=["CONNECT", "unknown transfer encoding"],
)
def test_request_without_route_is_rejected_immediately(
    gateway: Gateway, request_bytes: bytes, expected: tuple[bytes, bytes]
) -> None:
    with socket.create_connection(("127.0.0.1", gateway.target.listen.port), timeout=5) as connection:
        connection.sendall(request_bytes)
        response = connection.recv(4096)
    status, named = expected
    assert response.startswith(b"HTTP/1.1 " + status)
    assert named in response


def test_malformed_header_at_service_does_not_break_other_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward_all() -> Config:
        return extension("all", "filters.http.header_mutation.v3.HeaderMutation", mutations={})

    monkeypatch.setattr("envoy.routes.VALUES", {})
    monkeypatch.setattr("envoy.listener.allow_list", forward_all)
    with run_gateway(tmp_path) as gateway:
        eventually(lambda: has_status(gateway.http, "/readyz", 200))
        for name, value in (("grpc-timeout", "x"), ("grpc-encoding", "banana"), ("x-trace-bin", "!!!")):
            assert gateway.http.get("/.well-known/jwks.json", headers={name: value}).status_code >= 400
        method: Any = gateway.channel.unary_unary(method_named("GetJwks").path)
        for _ in range(30):
            method(b"", metadata=[("x-trace-bin", b"good")], timeout=10, compression=grpc.Compression.Gzip)
