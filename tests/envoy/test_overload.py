"""Clients that want the gateway's memory or its connections, and the commands that it takes."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.envoy.gateway import Gateway, answers, reason, running
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
    """A gateway with little memory and few connections."""
    folder = tmp_path_factory.mktemp("small")
    with running(folder, rate_limits=False, heap_bytes=HEAP, max_connections=CONNECTIONS) as gateway:
        yield gateway


def connected(gateway: Gateway, stack: ExitStack, first: bytes = b"") -> socket.socket:
    """Connects to the gateway until the stack closes, and sends the first bytes of a request."""
    connection = socket.create_connection((gateway.target.listen.host, gateway.target.listen.port), timeout=20)
    stack.enter_context(connection)
    connection.sendall(first)
    return connection


def begin(gateway: Gateway, stack: ExitStack, path: str, **headers: str) -> socket.socket:
    """Sends a request whose body of 4 MiB is never finished."""
    more = JSON + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection = connected(gateway, stack, HEAD.format(path=path, length=BODY + 1, more=more).encode())
    sender = threading.Thread(target=send, args=(connection, b" " * BODY))
    sender.start()
    stack.callback(sender.join)
    stack.callback(connection.close)
    return connection


def send(connection: socket.socket, body: bytes) -> None:
    with suppress(OSError):
        connection.sendall(body)


def answer(connection: socket.socket) -> tuple[int, str]:
    """Returns the status and the reason of an answer; 0 if the connection was closed without one."""
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


def heap(gateway: Gateway) -> int:
    """Returns how many bytes the gateway has allocated."""
    return int(admin(gateway, "/stats?filter=^server.memory_allocated$").text.split(": ")[1])


def admin(gateway: Gateway, path: str, verb: str = "GET") -> httpx.Response:
    """Returns the answer of the administration interface."""
    address = gateway.target.admin
    return httpx.request(verb, f"http://{address.host}:{address.port}{path}")


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("said", [True, False], ids=["its length said", "in chunks"])
def test_a_long_body_without_a_token_is_refused(gateway: Gateway, path: str, *, said: bool) -> None:
    body = b'{"email": "' + b"x" * 20_000 + b'"}'
    found = gateway.http.post(
        path, content=body if said else iter([body]), headers={"content-type": "application/json"}
    )
    assert (found.status_code, reason(found)) == (413, "BODY_TOO_LARGE")
    assert not gateway.arrived()


def test_a_short_body_without_a_token_is_taken(gateway: Gateway) -> None:
    assert gateway.http.post("/v1/auth/login", json={"email": "x" * 10_000}).status_code == 200


def test_a_long_body_with_a_token_is_taken(gateway: Gateway) -> None:
    found = gateway.http.post("/v1/patients", json={"name": "x" * MIB}, headers=gateway.bearer)
    assert found.status_code == 200


def test_unfinished_bodies_without_a_token_take_no_memory(small: Gateway) -> None:
    before = heap(small)
    with ExitStack() as stack:
        connections = [begin(small, stack, "/v1/auth/logout") for _ in range(BODIES)]
        assert {answer(connection) for connection in connections} <= {(413, "BODY_TOO_LARGE"), (0, "")}
        assert heap(small) - before < BODIES * MIB / 4
        assert small.http.get("/v1/patients", headers=small.bearer).status_code == 200


def test_requests_are_refused_before_memory_is_used_up(small: Gateway) -> None:
    with ExitStack() as stack:
        connections = [begin(small, stack, "/v1/patients", **small.bearer) for _ in range(BODIES)]
        refused = eventually(lambda: [each for each in connections if is_answered(each)])
        assert {answer(connection) for connection in refused} <= {(503, "DEPENDENCY_UNAVAILABLE"), (0, "")}
        assert heap(small) < HEAP * 2 < BODIES * BODY
    eventually(lambda: answers(small.http, "/v1/patients", 200, **small.bearer))


def is_answered(connection: socket.socket) -> bool:
    connection.setblocking(False)  # noqa: FBT003 - the method's only form
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
def test_idle_connections_are_closed_when_others_need_them(small: Gateway, first: bytes) -> None:
    with ExitStack() as stack:
        with suppress(OSError):
            for _ in range(CONNECTIONS + 50):
                connected(small, stack, first)
        with httpx.Client(base_url=small.http.base_url) as newcomer:
            eventually(lambda: answers(newcomer, "/healthz", 200))


def test_the_administration_interface_takes_no_commands(gateway: Gateway) -> None:
    assert admin(gateway, "/ready").text == "LIVE\n"
    for path in ("/logging?level=trace", "/quitquitquit", "/drain_listeners", "/reset_counters", "/healthcheck/fail"):
        assert admin(gateway, path, "POST").status_code == 403
    for path in ("/config_dump", "/certs", "/clusters", "/stats/prometheus", "/"):
        assert admin(gateway, path).status_code == 403


def test_a_gateway_in_a_container_can_be_drained(tmp_path: Path) -> None:
    with running(tmp_path, drains=True) as gateway:
        assert admin(gateway, "/drain_listeners?graceful&skip_exit", "POST").text == "OK\n"
        assert admin(gateway, "/quitquitquit", "POST").status_code == 403
