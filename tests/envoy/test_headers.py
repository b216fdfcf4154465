"""Which headers reach a service, and how requests with others are answered."""

import re
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest

from envoy.extension import Config, extension
from envoy.headers import regex_excluding
from tests.envoy.gateway import Gateway, answers, native, native_reason, reason, running
from tests.harness.waiting import eventually

GET_PATIENT = native("GetPatient").path
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
def test_a_name_in_the_set_does_not_match(name: str) -> None:
    assert not re.fullmatch(regex_excluding(["te", "tea", "user-agent"]), name)


@pytest.mark.parametrize("name", ["", "t", "teas", "ta", "user-agent-", "user.agent", "x", "User-agent"])
def test_every_other_name_matches(name: str) -> None:
    assert re.fullmatch(regex_excluding(["te", "tea", "user-agent"]), name)


UNKNOWN = {"cookie": "a=b", "x_tenant_id": "7", "x-trace-bin": "!!", "grpc-tags-bin": "AAAA", "grpc-status": "x"}


def test_only_known_headers_reach_a_service_at_both_doors(gateway: Gateway) -> None:
    gateway.http.get("/v1/patients/x", headers=gateway.bearer | UNKNOWN)
    gateway.call(GET_PATIENT, gateway.bearer | {"x_tenant_id": "7", "x-tenant": "7"})
    assert len(gateway.arrived()) == 2
    for call in gateway.arrived():
        assert call.metadata.keys() <= FORWARDED


def test_compressions_of_any_name_may_be_accepted(gateway: Gateway) -> None:
    gateway.http.get("/v1/patients/x", headers=gateway.bearer | {"grpc-accept-encoding": "gzip,x-SNAPPY_framed"})
    assert gateway.arrived()


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
def test_a_known_header_with_a_bad_value_is_refused(gateway: Gateway, name: str, value: bytes) -> None:
    headers = [(b"authorization", gateway.bearer["authorization"].encode()), (name.encode(), value)]
    answer = gateway.http.get("/v1/patients/x", headers=headers)
    assert (answer.status_code, reason(answer)) == (400, "REQUEST_INVALID")
    assert not gateway.arrived()


def test_a_token_that_is_not_ascii_is_refused(gateway: Gateway) -> None:
    answer = gateway.http.get("/.well-known/jwks.json", headers={b"authorization": b"Bearer \xe9"})
    assert (answer.status_code, reason(answer)) == (401, "TOKEN_INVALID")


@pytest.mark.parametrize("verb", ["GET", "HEAD", "DELETE", "OPTIONS", "PUT"])
@pytest.mark.parametrize("path", [GET_PATIENT, "/grpc.health.v1.Health/Check"])
def test_a_native_path_knows_only_post(gateway: Gateway, verb: str, path: str) -> None:
    answer = gateway.http.request(verb, path, headers=gateway.bearer)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert verb == "HEAD" or reason(answer) == "METHOD_NOT_ALLOWED"
    as_grpc = gateway.http.request(verb, path, headers=gateway.bearer | {"content-type": "application/grpc"})
    assert as_grpc.headers["grpc-status"] == "12"
    assert as_grpc.headers["grpc-status-details-bin"]
    assert not gateway.arrived()


def test_a_preflight_with_empty_headers_reaches_no_service(gateway: Gateway) -> None:
    answer = gateway.http.options("/v1/patients", headers={"origin": "", "access-control-request-method": ""})
    assert (answer.status_code, reason(answer)) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("path", ["/v1/patients/x", "/.well-known/jwks.json"])
@pytest.mark.parametrize("content", ["application/grpc", "application/grpc-web", "application/grpcx"])
def test_grpc_at_a_rest_path_is_refused(gateway: Gateway, path: str, content: str) -> None:
    gateway.http.get(path, headers=gateway.bearer | {"content-type": content})
    assert not gateway.arrived()


@pytest.mark.parametrize("path", [GET_PATIENT, native("GetJwks").path, "/grpc.health.v1.Health/Check"])
@pytest.mark.parametrize("body", [b"", b"\x00\x00"])
def test_a_call_without_a_message_is_refused_at_once(gateway: Gateway, path: str, body: bytes) -> None:
    headers = gateway.bearer | {"content-type": "application/grpc"}
    answer = gateway.http.post(path, content=body, headers=headers, timeout=5)
    assert (answer.headers["grpc-status"], answer.headers["grpc-message"]) == ("3", "The gRPC call has no message.")
    assert not gateway.arrived()


def test_a_call_that_ends_before_its_message_is_refused_at_once(gateway: Gateway) -> None:
    method: Any = gateway.channel.stream_unary(GET_PATIENT)
    with pytest.raises(grpc.RpcError) as refused:
        method(iter(()), metadata=[*gateway.bearer.items()], timeout=5)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert native_reason(refused.value) == "REQUEST_INVALID"


def test_more_than_100_headers_are_refused_at_both_doors(gateway: Gateway) -> None:
    many = {f"x-{n}": "1" for n in range(100)}
    answer = gateway.http.get("/v1/patients", headers=gateway.bearer | many)
    assert (answer.status_code, reason(answer)) == (431, "HEADERS_TOO_LARGE")
    with pytest.raises(grpc.RpcError) as refused:
        gateway.call(GET_PATIENT, gateway.bearer | many)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert native_reason(refused.value) == "HEADERS_TOO_LARGE"


@pytest.mark.parametrize("kilobytes", [9.5, 13, 31])
def test_headers_of_up_to_32_kib_are_accepted(gateway: Gateway, kilobytes: float) -> None:
    headers = gateway.bearer | {"cookie": "a" * int(kilobytes * 1000)}
    assert gateway.http.get("/v1/patients/x", headers=headers).status_code == 200
    gateway.call(GET_PATIENT, headers)


def test_headers_over_32_kib_are_refused_at_both_doors(gateway: Gateway) -> None:
    headers = gateway.bearer | {"cookie": "a" * 33_000}
    answer = gateway.http.get("/v1/patients/x", headers=headers)
    assert (answer.status_code, reason(answer)) == (431, "HEADERS_TOO_LARGE")
    with pytest.raises(grpc.RpcError) as refused:
        gateway.call(GET_PATIENT, headers)
    assert native_reason(refused.value) == "HEADERS_TOO_LARGE"


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
def test_a_request_that_no_route_fits_is_refused_at_once(
    gateway: Gateway, request_bytes: bytes, expected: tuple[bytes, bytes]
) -> None:
    with socket.create_connection(("127.0.0.1", gateway.target.listen.port), timeout=5) as connection:
        connection.sendall(request_bytes)
        answer = connection.recv(4096)
    status, named = expected
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert named in answer


def test_a_malformed_header_that_reaches_a_service_harms_no_other_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward_all() -> Config:
        return extension("all", "filters.http.header_mutation.v3.HeaderMutation", mutations={})

    monkeypatch.setattr("envoy.routes.VALUES", {})
    monkeypatch.setattr("envoy.listener.allow_list", forward_all)
    with running(tmp_path) as gateway:
        eventually(lambda: answers(gateway.http, "/readyz", 200))
        for name, value in (("grpc-timeout", "x"), ("grpc-encoding", "banana"), ("x-trace-bin", "!!!")):
            assert gateway.http.get("/.well-known/jwks.json", headers={name: value}).status_code >= 400
        method: Any = gateway.channel.unary_unary(native("GetJwks").path)
        for _ in range(30):
            method(b"", metadata=[("x-trace-bin", b"good")], timeout=10, compression=grpc.Compression.Gzip)
