"""Calls that clients give up: many of them are ordinary, a flood of them ends the connection."""

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
from tests.envoy.gateway import Gateway, native
from tests.harness.background import Background

AT_ONCE = 50
WATCHES, DEADLINES = 3000, 1500
FLOOD = RESET_BURST + PREMATURE_RESETS
CANCEL = (8).to_bytes(4, "big")
PING, PONG = (b"\0\0\x08\6" + flags + b"\0\0\0\0a ping__" for flags in (b"\0", b"\1"))
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    with Background() as background:
        yield background


async def outcomes(gateway: Gateway, count: int, path: str, **options: Any) -> Counter[grpc.StatusCode]:
    """Opens streams on one connection, reads one answer of each, cancels it, and returns how that went."""
    found: Counter[grpc.StatusCode] = Counter()
    address = f"{gateway.target.listen.host}:{gateway.target.listen.port}"
    async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        method: Any = channel.unary_stream(path)

        async def one() -> None:
            call = method(b"", metadata=[*gateway.bearer.items()], **options)
            try:
                await call.read()
                call.cancel()
                found[grpc.StatusCode.OK] += 1
            except grpc.aio.AioRpcError as error:
                found[error.code()] += 1

        for _ in range(count // AT_ONCE):
            await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    return found


def test_a_busy_client_may_open_short_watches_on_one_connection(gateway: Gateway, background: Background) -> None:
    found = background.run(outcomes(gateway, WATCHES, native("WatchPatients").path))
    assert found == {grpc.StatusCode.OK: WATCHES}


def test_a_busy_client_may_set_deadlines_that_pass(gateway: Gateway, background: Background) -> None:
    def late(_: Any, context: grpc.ServicerContext) -> Any:
        while context.is_active():
            time.sleep(0.01)
        return native("GetPatient").output()

    gateway.stubs["patient"].answers["GetPatient"] = late
    found = background.run(outcomes(gateway, DEADLINES, native("GetPatient").path, timeout=0.05))
    assert found == {grpc.StatusCode.DEADLINE_EXCEEDED: DEADLINES}


@pytest.mark.parametrize(("count", "is_cut_off"), [(PREMATURE_RESETS // 2, False), (FLOOD, True)])
def test_a_flood_of_resets_ends_the_connection(gateway: Gateway, count: int, *, is_cut_off: bool) -> None:
    with socket.create_connection((gateway.target.listen.host, gateway.target.listen.port), timeout=20) as attacker:
        with suppress(ConnectionError):
            flood(attacker, count)
            attacker.sendall(PING)
        assert until_pong(attacker) is not is_cut_off
    assert gateway.http.get("/v1/patients", headers=gateway.bearer).status_code == 200


def flood(attacker: socket.socket, count: int) -> None:
    """Opens and resets so many streams. Raises ConnectionError if the gateway closes the connection before."""
    attacker.sendall(PREFACE)
    for number in range(count):
        stream = (2 * number + 1).to_bytes(4, "big")
        attacker.sendall(opened(stream) + b"\0\0\4\3\0" + stream + CANCEL)


def until_pong(attacker: socket.socket) -> bool:
    """Reads until the answer to the ping and returns True, or until the end of the connection and returns False."""
    received = b""
    with suppress(ConnectionError):
        while part := attacker.recv(65536):
            received += part
            if PONG in received:
                return True
    return False


def opened(stream: bytes) -> bytes:
    """Returns the HEADERS of a POST whose body is still to come: fields of the static table, and two literals."""
    path = b"/v1/auth/login"
    fields = b"\x83\x86" + b"\x04" + bytes([len(path)]) + path + b"\x01\x01x"
    return len(fields).to_bytes(3, "big") + b"\1\4" + stream + fields
