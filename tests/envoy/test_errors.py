"""What the gateway says by itself, at each door."""

import struct
import threading
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.message import Message

from services.common.protobuf.contract import MAX_MESSAGE_BYTES as MAX_MESSAGE
from tests.envoy.gateway import Gateway, answers, native, native_reason, reason, running
from tests.harness.waiting import eventually

CREATE = native("CreatePatient").path


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
def test_a_bad_request_is_refused_in_json(
    gateway: Gateway, verb: str, path: str, request_body: bytes | None, expected: str
) -> None:
    answer = gateway.http.request(verb, path, content=request_body, headers=gateway.bearer)
    assert (answer.status_code, answer.json()["code"], reason(answer)) == (400, 3, expected)
    assert "pulsetrack.patient" not in answer.text
    assert not gateway.arrived()


@pytest.mark.parametrize("content", ["text/plain", "application/xml", "application/jsonp", "multipart/form-data"])
def test_a_body_that_says_that_it_is_no_json_is_refused(gateway: Gateway, content: str) -> None:
    headers = gateway.bearer | {"content-type": content}
    answer = gateway.http.post("/v1/patients", content=b"{}", headers=headers)
    assert (answer.status_code, reason(answer)) == (415, "CONTENT_TYPE_UNSUPPORTED")
    assert not gateway.arrived()


@pytest.mark.parametrize("content", ["application/json", "Application/JSON; charset=utf-8", None])
def test_a_body_in_json_is_taken(gateway: Gateway, content: str | None) -> None:
    headers = gateway.bearer | ({"content-type": content} if content else {})
    assert gateway.http.post("/v1/patients", content=b"{}", headers=headers).status_code == 200


def test_a_call_that_takes_too_long_is_ended_at_both_doors(tmp_path: Path) -> None:
    with running(tmp_path, call_seconds=1) as gateway:
        eventually(lambda: answers(gateway.http, "/readyz", 200))
        ended = threading.Event()

        def too_late(*_: Any) -> Message:
            ended.wait(10)
            return native("GetPatient").output()

        gateway.stubs["patient"].answers["GetPatient"] = too_late
        answer = gateway.http.get("/v1/patients/7", headers=gateway.bearer)
        with pytest.raises(grpc.RpcError) as refused:
            gateway.call(native("GetPatient").path, gateway.bearer)
        ended.set()
    assert (answer.status_code, reason(answer)) == (504, "CALL_TOO_SLOW")
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(gateway: Gateway, *, chunked: bool) -> None:
    body = b'{"name": "' + b"x" * MAX_MESSAGE + b'"}'
    content = iter([body[: MAX_MESSAGE // 2], body[MAX_MESSAGE // 2 :]]) if chunked else body
    answer = gateway.http.post("/v1/patients", content=content, headers=gateway.bearer)
    assert (answer.status_code, answer.json()["code"], reason(answer)) == (413, 8, "BODY_TOO_LARGE")
    assert not gateway.arrived()


def test_a_message_of_4_mib_passes_at_the_native_door_and_one_byte_more_does_not(gateway: Gateway) -> None:
    request: Any = native("CreatePatient").input()
    request.patient.name = "x" * (MAX_MESSAGE - 10)
    assert request.ByteSize() == MAX_MESSAGE
    gateway.call(CREATE, gateway.bearer, request.SerializeToString())
    with pytest.raises(grpc.RpcError) as refused:
        gateway.call(CREATE, gateway.bearer, request.SerializeToString() + b"\x00")
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert native_reason(refused.value) == "BODY_TOO_LARGE"


def test_a_long_list_comes_through_compressed_if_wished(gateway: Gateway) -> None:
    def many(request: Any, _: grpc.ServicerContext) -> Any:
        return native("ListPatients").output(patients=[{"name": "x" * 3500}] * request.page_size)

    gateway.stubs["patient"].answers["ListPatients"] = many
    answer = gateway.http.get("/v1/patients?pageSize=1000", headers=gateway.bearer)
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["patients"]) == 1000


@pytest.mark.parametrize("headers", [{"x-long": "x" * 40_000}, {f"x-{n}": "" for n in range(120)}])
def test_headers_that_are_too_large_are_refused(gateway: Gateway, headers: dict[str, str]) -> None:
    answer = gateway.http.get("/v1/patients", headers=headers)
    assert (answer.status_code, reason(answer)) == (431, "HEADERS_TOO_LARGE")


@pytest.mark.parametrize("content_type", ["application/grpc-web", "application/grpc-web+proto"])
def test_grpc_web_hears_the_same_as_native_grpc(gateway: Gateway, content_type: str) -> None:
    headers = {"content-type": content_type}
    good = web_call(gateway, headers | gateway.bearer)
    assert good.content.startswith(b"\x00")
    assert b"grpc-status:0" in good.content
    refused = web_call(gateway, headers)
    assert (refused.status_code, refused.headers["grpc-status"]) == (200, "16")
    assert refused.headers["grpc-status-details-bin"]


def web_call(gateway: Gateway, headers: dict[str, str]) -> httpx.Response:
    return gateway.http.post(native("GetPatient").path, content=struct.pack(">BI", 0, 0), headers=headers)


def test_every_answer_has_a_request_id_and_says_nothing_of_envoy(gateway: Gateway) -> None:
    for path, headers in (("/v1/patients", gateway.bearer), ("/v1/patients", {}), ("/nothing", {}), ("/healthz", {})):
        answer = gateway.http.get(path, headers=headers | {"x-request-id": "mine"})
        assert len(answer.headers["x-request-id"]) == 36
        assert answer.headers["server"] == "pulsetrack"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "envoy" not in str(answer.headers).lower()
