"""Requests as the HTTP and gRPC clients of other languages send them."""

import gzip
import socket
import subprocess
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.protobuf.contract import FHIR, FHIR_CONTENT, SERVICES, Http, Method, all_methods
from tests.envoy.gateway import Gateway, error_reason, method_named
from tests.envoy.test_json_bodies import PATIENT
from tests.envoy.test_routes import example_path
from tests.harness.rest_bodies import content_type
from tests.harness.waiting import eventually

GETS = [
    pytest.param(method, http, id=http.path)
    for method in all_methods()
    for http in method.http
    if http.verb == "GET" and not method.streams
]
CUSTOM = [
    pytest.param(method, http, id=http.path)
    for method in all_methods()
    for http in method.http
    if ":" in http.path.rpartition("/")[2]
]


def exchange(gateway: Gateway, *lines: str) -> bytes:
    """Sends a request without a body, as lines, and returns the response."""
    with socket.create_connection(("127.0.0.1", gateway.target.listen.port), timeout=5) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        response = connection.recv(65_536)
        while b"\r\n\r\n" not in response and (more := connection.recv(65_536)):
            response += more
    return response


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_scheme_of_authorization_is_case_insensitive(gateway: Gateway, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {gateway.keys.token()}"}
    assert gateway.http.get("/v1/patients/x", headers=headers).status_code == 200
    gateway.call(method_named("GetPatient").path, headers)
    assert len(gateway.received_calls()) == 2


@pytest.mark.parametrize("host", [(), ("host: x",)], ids=["without host", "with host"])
def test_http_1_0_request_is_answered(gateway: Gateway, host: tuple[str, ...]) -> None:
    assert exchange(gateway, "GET /healthz HTTP/1.0", *host).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize("protocol", ["TLS/1.2", "h2c", "TLS/1.2, h2c", "websocket"])
def test_upgrade_is_ignored(gateway: Gateway, protocol: str) -> None:
    upgrade = ("connection: upgrade", f"upgrade: {protocol}")
    response = exchange(gateway, "GET /healthz HTTP/1.1", "host: x", *upgrade)
    assert response.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("second", ["x", "y"])
def test_second_host_header_is_rejected(gateway: Gateway, second: str) -> None:
    response = exchange(gateway, "GET /healthz HTTP/1.1", "host: x", f"host: {second}")
    assert response.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(("method", "http"), CUSTOM)
@pytest.mark.parametrize("colon", ["%3A", "%3a"])
def test_colon_of_custom_method_may_be_escaped(gateway: Gateway, method: Method, http: Http, colon: str) -> None:
    path = example_path(http).replace(":", colon)
    headers = gateway.bearer | content_type(method, http)
    response = gateway.http.request(http.verb, path, json={}, headers=headers)
    assert response.status_code == 200
    [call] = gateway.received_calls()
    assert call.path == method.path
    assert getattr(call.request, "id", "x") == "x"


def test_escaped_colon_in_an_id_or_a_query_is_preserved(gateway: Gateway) -> None:
    for path in ("/v1/patients/a%3Ab:undelete", "/v1/patients/a%3Ab%3Aundelete"):
        assert gateway.http.post(path, json={}, headers=gateway.bearer).status_code == 200
    assert gateway.http.get("/v1/patients/a%3Aundelete", headers=gateway.bearer).status_code == 200
    watch = gateway.http.get("/v1/patients%3Awatch?resumeToken=a%3Ab", headers=gateway.bearer)
    assert watch.status_code == 200
    *calls, watched = gateway.received_calls()
    assert [call.request.id for call in calls] == ["a:b", "a:b", "a:undelete"]
    assert watched.request.resume_token == "a:b"


@pytest.mark.parametrize("value", ["%E9", "%ff", "%C0%80", "%ED%A0%80", "%E2%82", "%F4%90%80%80", "a%80"])
@pytest.mark.parametrize("path", ["/v1/patients?query={}", "/v1/patients/{}"])
def test_parameter_that_is_not_utf_8_is_rejected(gateway: Gateway, path: str, value: str) -> None:
    response = gateway.http.get(path.format(value), headers=gateway.bearer)
    assert (response.status_code, error_reason(response)) == (400, "QUERY_PARAMETER_INVALID")
    assert not gateway.received_calls()


@pytest.mark.parametrize("value", ["José", "Nguyễn", "€", "😀", "\u07ff\ud7ff\ue000\uffff\U00010000\U0010ffff", "a&b%"])
def test_parameter_in_utf_8_is_received(gateway: Gateway, value: str) -> None:
    assert gateway.http.get("/v1/patients", params={"query": value}, headers=gateway.bearer).status_code == 200
    [call] = gateway.received_calls()
    assert call.request.query == value


@pytest.mark.parametrize("path", ["/healthz?x=1", "/readyz?x=1"])
def test_health_accepts_a_query(gateway: Gateway, path: str) -> None:
    response = gateway.http.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_watch_has_the_content_type_of_json_lines(gateway: Gateway) -> None:
    response = gateway.http.get("/v1/patients:watch", headers=gateway.bearer)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
    assert error_reason(gateway.http.get("/v1/patients:watch")) == "TOKEN_MISSING"


@pytest.mark.parametrize("name", SERVICES.values())
def test_health_of_each_service_is_its_own(gateway: Gateway, name: str) -> None:
    stub = next(each for each in gateway.stubs.values() if SERVICES[each.service] == name)
    try:
        for ready, status in ((True, "SERVING"), (False, "NOT_SERVING")):
            stub.set_ready(ready=ready)
            assert health_of(gateway, name) == status
            assert health_of(gateway, "") == status
    finally:
        stub.set_ready()
        eventually(lambda: gateway.http.get("/readyz").status_code == 200)


def health_of(gateway: Gateway, name: str) -> str:
    """Returns the status of a service as the gateway reports it."""
    check = health_pb2_grpc.HealthStub(gateway.channel).Check
    status = check(health_pb2.HealthCheckRequest(service=name), timeout=10).status
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))


@pytest.mark.parametrize(("method", "http"), GETS)
def test_head_is_get_without_a_body(gateway: Gateway, method: Method, http: Http) -> None:
    connection = HTTPConnection("127.0.0.1", gateway.target.listen.port, timeout=10)
    with closing(connection):
        head, get = (request(connection, verb, example_path(http), gateway.bearer) for verb in ("HEAD", "GET"))
    assert (head, [call.path for call in gateway.received_calls()]) == (get, [method.path] * 2)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_head_of_a_long_list_has_no_body(gateway: Gateway, encoding: str) -> None:
    method = method_named("ListPatients")
    patients = method.output(patients=[{"name": "Ana"}] * 20_000)
    gateway.stubs["patient"].responses[method.name] = lambda *_: patients
    headers = gateway.bearer | {"accept-encoding": encoding}
    with closing(HTTPConnection("127.0.0.1", gateway.target.listen.port, timeout=10)) as connection:
        head, get = (request(connection, verb, "/v1/patients", headers) for verb in ("HEAD", "GET"))
    assert head == get


def request(connection: HTTPConnection, verb: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Returns the status and the headers of a response, after checking its body."""
    connection.request(verb, path, headers=headers | {"user-agent": "test"})
    response = connection.getresponse()
    assert bool(response.read()) is (verb == "GET")
    varying = {"x-request-id", "date", "transfer-encoding"}
    return response.status, {name: value for name, value in response.getheaders() if name not in varying}


def test_head_of_a_service_error_has_no_body(gateway: Gateway) -> None:
    def reject(_: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.NOT_FOUND, "No patient has this id.")

    gateway.stubs["patient"].responses["GetPatient"] = reject
    with closing(HTTPConnection("127.0.0.1", gateway.target.listen.port, timeout=10)) as connection:
        head, get = (request(connection, verb, PATIENT, gateway.bearer) for verb in ("HEAD", "GET"))
    assert head == get
    assert head[0] == 404


def test_head_over_http_2_has_no_body(gateway: Gateway) -> None:
    url = f"{gateway.http.base_url}/v1/patients"
    options = ("--http2-prior-knowledge", "--no-progress-meter", "--header")
    command = ["curl", "--head", *options, f"authorization: {gateway.bearer['authorization']}", url]
    headers = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout
    assert headers.startswith("HTTP/2 200")
    assert "content-length: 34" in headers


def test_head_of_a_stream_is_rejected(gateway: Gateway) -> None:
    response = gateway.http.head("/v1/patients:watch", headers=gateway.bearer)
    assert (response.status_code, response.headers["allow"]) == (405, "GET")


def test_head_requires_a_token(gateway: Gateway) -> None:
    response = gateway.http.head(PATIENT)
    assert (response.status_code, response.content) == (401, b"")


@pytest.mark.parametrize("path", ["x", "Patient/7?a=b", "exports/7/Patient.ndjson"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_head_of_fhir_has_no_body_that_precedes_the_next_response(gateway: Gateway, path: str, encoding: str) -> None:
    for _ in range(2):  # on the same connection
        response = gateway.http.head(f"{FHIR}{path}", headers=gateway.bearer | {"accept-encoding": encoding})
        assert (response.is_error, response.headers["content-type"]) == (True, FHIR_CONTENT)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity"])
def test_compressed_body_is_rejected(gateway: Gateway, encoding: str) -> None:
    headers = gateway.bearer | {"content-type": "application/json", "content-encoding": encoding}
    response = gateway.http.post("/v1/patients", content=gzip.compress(b'{"name": "A"}'), headers=headers)
    assert (response.status_code, error_reason(response)) == (415, "CONTENT_TYPE_UNSUPPORTED")
    assert not gateway.received_calls()


@pytest.mark.parametrize("header", ["content-type", "content-encoding"])
def test_long_body_in_another_format_is_rejected_for_its_format(gateway: Gateway, header: str) -> None:
    headers = gateway.bearer | {"content-type": "application/json"} | {header: "application/x-other"}
    response = gateway.http.post("/v1/patients", content=b" " * 100_000, headers=headers)
    assert (response.status_code, error_reason(response)) == (415, "CONTENT_TYPE_UNSUPPORTED")


def test_identity_is_an_accepted_content_encoding(gateway: Gateway) -> None:
    headers = gateway.bearer | {"content-type": "application/json", "content-encoding": "Identity"}
    assert gateway.http.post("/v1/patients", content=b'{"name": "A"}', headers=headers).status_code == 200


def test_head_rejects_an_unknown_parameter(gateway: Gateway) -> None:
    assert gateway.http.head(f"{PATIENT}?id=8", headers=gateway.bearer).status_code == 400
    assert not gateway.received_calls()
