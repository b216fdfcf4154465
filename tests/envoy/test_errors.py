"""Errors that the gateway returns, in gRPC and REST."""

import struct
import threading
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.message import Message

from services.common.protobuf.contract import MAX_MESSAGE_BYTES as MAX_MESSAGE
from tests.envoy.gateway import Gateway, error_reason, grpc_error_reason, has_status, method_named, run_gateway
from tests.harness.waiting import eventually

CREATE = method_named("CreatePatient").path


@pytest.mark.parametrize(
    ("verb", "path", "request_body", "expected"),
    [
        ("GET", "/v1/patients?foo=1", None, "QUERY_PARAMETER_UNKNOWN"),
        ("GET", "/v1/patients?page_size=1&access_token=x", None, "QUERY_PARAMETER_UNKNOWN"),
        ("GET", "/v1/patients?pageSize=many", None, "QUERY_PARAMETER_INVALID"),
        ("POST", "/v1/patients", b'{"name": "Ana"', "JSON_INVALID"),
        ("POST", "/v1/patients", b'{"name": "Ana"} {}', "JSON_INVALID"),
        ("POST", "/v1/patients", b'{"name": 5}', "JSON_INVALID"),
        ("POST", "/v1/patients", b'{"sex": "sex_female"}', "JSON_INVALID"),
        ("POST", "/v1/patients", b'{"name": "\xff"}', "JSON_INVALID"),
        ("POST", "/v1/patients", b"<patient/>", "JSON_INVALID"),
        ("PATCH", "/v1/patients/7", b'{"id": "8"}', "JSON_INVALID"),
        ("GET", "/v1/patients/a%2fb", None, "REQUEST_INVALID"),
        ("GET", "/v1/patients/a%00b", None, "REQUEST_INVALID"),
    ],
)
def test_invalid_request_returns_json_error(
    gateway: Gateway, verb: str, path: str, request_body: bytes | None, expected: str
) -> None:
    response = gateway.http.request(verb, path, content=request_body, headers=gateway.bearer)
    assert (response.status_code, response.json()["code"], error_reason(response)) == (400, 3, expected)
    assert "pulsetrack.patient" not in response.text
    assert not gateway.received_calls()


@pytest.mark.parametrize("content", ["text/plain", "application/xml", "application/jsonp", "multipart/form-data"])
def test_unsupported_content_type_is_rejected(gateway: Gateway, content: str) -> None:
    headers = gateway.bearer | {"content-type": content}
    response = gateway.http.post("/v1/patients", content=b"{}", headers=headers)
    assert (response.status_code, error_reason(response)) == (415, "CONTENT_TYPE_UNSUPPORTED")
    assert not gateway.received_calls()


@pytest.mark.parametrize("content", ["application/json", "Application/JSON; charset=utf-8", None])
def test_json_content_type_is_accepted(gateway: Gateway, content: str | None) -> None:
    headers = gateway.bearer | ({"content-type": content} if content else {})
    assert gateway.http.post("/v1/patients", content=b"{}", headers=headers).status_code == 200


def test_slow_call_times_out_in_grpc_and_rest(tmp_path: Path) -> None:
    with run_gateway(tmp_path, call_seconds=1) as gateway:
        eventually(lambda: has_status(gateway.http, "/readyz", 200))
        ended = threading.Event()

        def respond_late(*_: Any) -> Message:
            ended.wait(10)
            return method_named("GetPatient").output()

        gateway.stubs["patient"].responses["GetPatient"] = respond_late
        response = gateway.http.get("/v1/patients/7", headers=gateway.bearer)
        with pytest.raises(grpc.RpcError) as rejected:
            gateway.call(method_named("GetPatient").path, gateway.bearer)
        ended.set()
    assert (response.status_code, error_reason(response)) == (504, "CALL_TOO_SLOW")
    assert rejected.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("chunked", [False, True])
def test_body_over_limit_is_rejected(gateway: Gateway, *, chunked: bool) -> None:
    body = b'{"name": "' + b"x" * MAX_MESSAGE + b'"}'
    content = iter([body[: MAX_MESSAGE // 2], body[MAX_MESSAGE // 2 :]]) if chunked else body
    response = gateway.http.post("/v1/patients", content=content, headers=gateway.bearer)
    assert (response.status_code, response.json()["code"], error_reason(response)) == (413, 8, "BODY_TOO_LARGE")
    assert not gateway.received_calls()


def test_grpc_message_limit_is_4_mib(gateway: Gateway) -> None:
    request: Any = method_named("CreatePatient").input()
    request.patient.name = "x" * (MAX_MESSAGE - 10)
    assert request.ByteSize() == MAX_MESSAGE
    gateway.call(CREATE, gateway.bearer, request.SerializeToString())
    with pytest.raises(grpc.RpcError) as rejected:
        gateway.call(CREATE, gateway.bearer, request.SerializeToString() + b"\x00")
    assert rejected.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert grpc_error_reason(rejected.value) == "BODY_TOO_LARGE"


def test_large_response_is_compressed(gateway: Gateway) -> None:
    def list_patients(request: Any, _: grpc.ServicerContext) -> Any:
        return method_named("ListPatients").output(patients=[{"name": "x" * 3500}] * request.page_size)

    gateway.stubs["patient"].responses["ListPatients"] = list_patients
    response = gateway.http.get("/v1/patients?pageSize=1000", headers=gateway.bearer)
    assert response.headers["content-encoding"] == "gzip"
    assert len(response.json()["patients"]) == 1000


@pytest.mark.parametrize("headers", [{"x-long": "x" * 40_000}, {f"x-{n}": "" for n in range(120)}])
def test_headers_over_limits_are_rejected(gateway: Gateway, headers: dict[str, str]) -> None:
    response = gateway.http.get("/v1/patients", headers=headers)
    assert (response.status_code, error_reason(response)) == (431, "HEADERS_TOO_LARGE")


@pytest.mark.parametrize("content_type", ["application/grpc-web", "application/grpc-web+proto"])
def test_grpc_web_returns_same_results_as_grpc(gateway: Gateway, content_type: str) -> None:
    headers = {"content-type": content_type}
    good = web_call(gateway, headers | gateway.bearer)
    assert good.content.startswith(b"\x00")
    assert b"grpc-status:0" in good.content
    rejected = web_call(gateway, headers)
    assert (rejected.status_code, rejected.headers["grpc-status"]) == (200, "16")
    assert rejected.headers["grpc-status-details-bin"]


def web_call(gateway: Gateway, headers: dict[str, str]) -> httpx.Response:
    return gateway.http.post(method_named("GetPatient").path, content=struct.pack(">BI", 0, 0), headers=headers)


def test_responses_have_request_id_and_do_not_mention_envoy(gateway: Gateway) -> None:
    for path, headers in (("/v1/patients", gateway.bearer), ("/v1/patients", {}), ("/nothing", {}), ("/healthz", {})):
        response = gateway.http.get(path, headers=headers | {"x-request-id": "mine"})
        assert len(response.headers["x-request-id"]) == 36
        assert response.headers["server"] == "pulsetrack"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "envoy" not in str(response.headers).lower()
