"""Stream resets: many cancelled calls are permitted, and a flood of resets closes the connection."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest

from envoy.overload import PREMATURE_RESETS, RESET_BURST
from tests.envoy.gateway import Gateway, method_named
from tests.harness.background import Background

BATCH = 50
WATCHES, DEADLINES = 3000, 1500
FLOOD = RESET_BURST + PREMATURE_RESETS
CANCEL = (8).to_bytes(4, "big")
PING, PONG = (b"\0\0\x08\6" + flags + b"\0\0\0\0a ping__" for flags in (b"\0", b"\1"))
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    with Background() as background:
        yield background


async def open_and_cancel(gateway: Gateway, count: int, path: str, **options: Any) -> Counter[grpc.StatusCode]:
    """Opens streams on one connection, cancels each after one response, and returns the number of each status."""
    statuses: Counter[grpc.StatusCode] = Counter()
    address = f"{gateway.target.listen.host}:{gateway.target.listen.port}"
    async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        method: Any = channel.unary_stream(path)

        async def open_stream() -> None:
            call = method(b"", metadata=[*gateway.bearer.items()], **options)
            try:
                await call.read()
                call.cancel()
                statuses[grpc.StatusCode.OK] += 1
            except grpc.aio.AioRpcError as error:
                statuses[error.code()] += 1

        for _ in range(count // BATCH):
            await asyncio.gather(*(open_stream() for _ in range(BATCH)))
    return statuses


def test_client_can_cancel_many_short_watches_on_one_connection(gateway: Gateway, background: Background) -> None:
    statuses = background.run(open_and_cancel(gateway, WATCHES, method_named("WatchPatients").path))
    assert statuses == {grpc.StatusCode.OK: WATCHES}


def test_client_can_exceed_many_deadlines_on_one_connection(gateway: Gateway, background: Background) -> None:
    def respond_late(_: Any, context: grpc.ServicerContext) -> Any:
        while context.is_active():
            time.sleep(0.01)
        return method_named("GetPatient").output()

    gateway.stubs["patient"].responses["GetPatient"] = respond_late
    statuses = background.run(open_and_cancel(gateway, DEADLINES, method_named("GetPatient").path, timeout=0.05))
    assert statuses == {grpc.StatusCode.DEADLINE_EXCEEDED: DEADLINES}


@pytest.mark.parametrize(("count", "is_closed"), [(PREMATURE_RESETS // 2, False), (FLOOD, True)])
def test_flood_of_resets_closes_the_connection(gateway: Gateway, count: int, *, is_closed: bool) -> None:
    with socket.create_connection((gateway.target.listen.host, gateway.target.listen.port), timeout=20) as attacker:
        with suppress(ConnectionError):
            flood(attacker, count)
            attacker.sendall(PING)
        assert receives_pong(attacker) is not is_closed
    assert gateway.http.get("/v1/patients", headers=gateway.bearer).status_code == 200


def flood(attacker: socket.socket, count: int) -> None:
    """Opens and resets `count` streams. Raises ConnectionError if the gateway closes the connection."""
    attacker.sendall(PREFACE)
    for number in range(count):
        stream = (2 * number + 1).to_bytes(4, "big")
        attacker.sendall(headers_frame(stream) + b"\0\0\4\3\0" + stream + CANCEL)


def receives_pong(attacker: socket.socket) -> bool:
    """Reads until the ping response and returns True, or until the connection is closed and returns False."""
    received = b""
    with suppress(ConnectionError):
        while part := attacker.recv(65536):
            received += part
            if PONG in received:
                return True
    return False


def headers_frame(stream: bytes) -> bytes:
    """Returns the HEADERS frame of a POST with an open body: indexed fields, and two literals."""
    path = b"/v1/auth/login"
    fields = b"\x83\x86" + b"\x04" + bytes([len(path)]) + path + b"\x01\x01x"
    return len(fields).to_bytes(3, "big") + b"\1\4" + stream + fields
