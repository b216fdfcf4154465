"""Clients that exhaust memory or connections, and the administration interface."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.envoy.gateway import Gateway, error_reason, has_status, run_gateway
from tests.harness.waiting import eventually

MIB = 1024 * 1024
BODY = 4 * MIB - 64 * 1024
HEAP = 96 * MIB
BODIES = 60
CONNECTIONS = 300
JSON = "content-type: application/json\r\n"
HEAD = "POST {path} HTTP/1.1\r\nhost: localhost\r\n{more}content-length: {length}\r\n\r\n"
PUBLIC = ["/v1/auth/login", "/v1/auth/signup", "/v1/auth/refresh", "/v1/auth/logout"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with low limits of memory and connections."""
    folder = tmp_path_factory.mktemp("small")
    with run_gateway(folder, rate_limits=False, heap_bytes=HEAP, max_connections=CONNECTIONS) as gateway:
        yield gateway


def connect(gateway: Gateway, stack: ExitStack, first: bytes = b"") -> socket.socket:
    """Connects to the gateway and sends the first bytes of a request. The stack closes the connection."""
    connection = socket.create_connection((gateway.target.listen.host, gateway.target.listen.port), timeout=20)
    stack.enter_context(connection)
    connection.sendall(first)
    return connection


def begin_upload(gateway: Gateway, stack: ExitStack, path: str, **headers: str) -> socket.socket:
    """Sends a request with a 4 MiB body that is never completed."""
    more = JSON + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection = connect(gateway, stack, HEAD.format(path=path, length=BODY + 1, more=more).encode())
    sender = threading.Thread(target=send, args=(connection, b" " * BODY))
    sender.start()
    stack.callback(sender.join)
    stack.callback(connection.close)
    return connection


def send(connection: socket.socket, body: bytes) -> None:
    with suppress(OSError):
        connection.sendall(body)


def read_response(connection: socket.socket) -> tuple[int, str]:
    """Returns the status and reason of a response, or 0 and "" if the connection was closed without one."""
    received = b""
    with suppress(OSError):
        while part := connection.recv(65536):
            received += part
            if received.endswith(b"}"):
                break
    if not received:
        return 0, ""
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["details"][0]["reason"]


def allocated_bytes(gateway: Gateway) -> int:
    """Returns the number of allocated bytes."""
    return int(call_admin(gateway, "/stats?filter=^server.memory_allocated$").text.split(": ")[1])


def call_admin(gateway: Gateway, path: str, verb: str = "GET") -> httpx.Response:
    """Returns a response of the administration interface."""
    address = gateway.target.admin
    return httpx.request(verb, f"http://{address.host}:{address.port}{path}")


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_large_body_on_public_method_is_rejected(gateway: Gateway, path: str, *, chunked: bool) -> None:
    body = b'{"email": "' + b"x" * 20_000 + b'"}'
    response = gateway.http.post(
        path, content=iter([body]) if chunked else body, headers={"content-type": "application/json"}
    )
    assert (response.status_code, error_reason(response)) == (413, "BODY_TOO_LARGE")
    assert not gateway.received_calls()


def test_small_body_on_public_method_is_accepted(gateway: Gateway) -> None:
    assert gateway.http.post("/v1/auth/login", json={"email": "x" * 10_000}).status_code == 200


def test_large_body_with_token_is_accepted(gateway: Gateway) -> None:
    response = gateway.http.post("/v1/patients", json={"name": "x" * MIB}, headers=gateway.bearer)
    assert response.status_code == 200


def test_unfinished_bodies_on_public_methods_use_no_memory(small: Gateway) -> None:
    before = allocated_bytes(small)
    with ExitStack() as stack:
        connections = [begin_upload(small, stack, "/v1/auth/logout") for _ in range(BODIES)]
        assert {read_response(connection) for connection in connections} <= {(413, "BODY_TOO_LARGE"), (0, "")}
        assert allocated_bytes(small) - before < BODIES * MIB / 4
        assert small.http.get("/v1/patients", headers=small.bearer).status_code == 200


def test_requests_are_rejected_before_memory_is_exhausted(small: Gateway) -> None:
    with ExitStack() as stack:
        connections = [begin_upload(small, stack, "/v1/patients", **small.bearer) for _ in range(BODIES)]
        responded = eventually(lambda: [each for each in connections if has_response(each)])
        assert {read_response(connection) for connection in responded} <= {(503, "DEPENDENCY_UNAVAILABLE"), (0, "")}
        assert allocated_bytes(small) < HEAP * 2 < BODIES * BODY
    eventually(lambda: has_status(small.http, "/v1/patients", 200, **small.bearer))


def has_response(connection: socket.socket) -> bool:
    connection.setblocking(False)  # noqa: FBT003 - the parameter is positional
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(20)
    return True


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"], ids=["no request", "a request"])
def test_idle_connections_are_closed_under_pressure(small: Gateway, first: bytes) -> None:
    with ExitStack() as stack:
        with suppress(OSError):
            for _ in range(CONNECTIONS + 50):
                connect(small, stack, first)
        with httpx.Client(base_url=small.http.base_url) as client:
            eventually(lambda: has_status(client, "/healthz", 200))


def test_administration_interface_rejects_commands(gateway: Gateway) -> None:
    assert call_admin(gateway, "/ready").text == "LIVE\n"
    for path in ("/logging?level=trace", "/quitquitquit", "/drain_listeners", "/reset_counters", "/healthcheck/fail"):
        assert call_admin(gateway, path, "POST").status_code == 403
    for path in ("/config_dump", "/certs", "/clusters", "/stats/prometheus", "/"):
        assert call_admin(gateway, path).status_code == 403


def test_container_gateway_can_be_drained(tmp_path: Path) -> None:
    with run_gateway(tmp_path, drains=True) as gateway:
        assert call_admin(gateway, "/drain_listeners?graceful&skip_exit", "POST").text == "OK\n"
        assert call_admin(gateway, "/quitquitquit", "POST").status_code == 403
