"""Bodies that do not come to an end: cut off after the longest that a call may take, and in nobody's way until then."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import httpx
import pytest

from deploy.settings import HOST
from tests.e2e.sessions import Session, a_patient
from tests.harness.background import Background
from tests.harness.client import Rejected
from tests.harness.waiting import eventually
from tests.security.raw import connected
from tools.instance import Instance

MANY = 300
CREATE = "/pulsetrack.patient.v1.PatientService/CreatePatient"
HEAD = "POST /v1/patients HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer {}\r\n"
WAYS = {
    "a letter at a time": ("content-length: 4000\r\n\r\n", b" "),
    "a chunk at a time": ("transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "nothing after the first half": ('content-length: 4000\r\n\r\n{"name":', b""),
}
SHORTEST, LONGEST = 10, 25
"""How long it may take, in seconds, until somebody is cut off."""

Ends = dict[str, Future[tuple[float, bytes]]]


@pytest.fixture(scope="module")
def ends(system: Instance, user: Session) -> Iterator[Ends]:
    """How those end who send a body in each of these ways: after how many seconds, and with which answer."""
    with ThreadPoolExecutor(len(WAYS)) as threads:
        yield {way: threads.submit(trickle, system, user, *parts) for way, parts in WAYS.items()}


def trickle(system: Instance, user: Session, rest_of_head: str, part: bytes) -> tuple[float, bytes]:
    """Sends the part again and again until there is an answer."""
    start = time.monotonic()
    with connected(system, (HEAD.format(user.token) + rest_of_head).encode()) as slow:
        slow.settimeout(0.2)
        while time.monotonic() - start < 2 * LONGEST:
            with suppress(TimeoutError):
                slow.sendall(part)
                return time.monotonic() - start, slow.recv(65536)
    return time.monotonic() - start, b""


def active(system: Instance, where: str) -> int:
    """Returns how many calls the gateway has under way: of its callers, or at a service."""
    admin = f"http://{HOST}:{system.state().ports['gateway-admin']}"
    stats = httpx.get(f"{admin}/stats", params={"filter": rf"^{where}_rq_active$"})
    return int(stats.text.split(": ")[1])


def test_calls_without_a_message_wait_at_the_gateway_until_their_deadline(
    system: Instance, user: Session, background: Background, ends: Ends
) -> None:
    with ThreadPoolExecutor(1) as threads:
        silent = threads.submit(background.run, silence(system, user))
        eventually(lambda: active(system, "http.gateway.downstream") >= MANY)
        assert user.post("/v1/patients", a_patient())["id"]
        eventually(lambda: active(system, "cluster.patient.upstream") == 0)
        assert active(system, "http.gateway.downstream") >= MANY
        codes = silent.result()
    assert codes == {(grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_TOO_SLOW")}


async def silence(system: Instance, user: Session) -> set[tuple[grpc.StatusCode, str]]:
    """Makes many calls that never send their message, and returns how they end."""

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(2 * LONGEST)
        yield b""

    async def end(channel: grpc.aio.Channel) -> tuple[grpc.StatusCode, str]:
        call: Any = channel.stream_unary(CREATE)
        try:
            await call(nothing(), metadata=[("authorization", f"Bearer {user.token}")])
        except grpc.aio.AioRpcError as error:
            refused = Rejected(error)
        return refused.code, refused.reason

    own = [("grpc.use_local_subchannel_pool", 1)]  # a connection each: one carries 256 calls
    address = f"{HOST}:{system.port}"
    async with grpc.aio.insecure_channel(address, own) as one, grpc.aio.insecure_channel(address, own) as other:
        return set(await asyncio.gather(*(end(channel) for channel in (one, other) for _ in range(MANY // 2))))


@pytest.mark.parametrize(
    ("path", "code"),
    [(CREATE, "3"), ("/pulsetrack.auth.v1.AuthService/GetJwks", "3"), ("/grpc.health.v1.Health/Check", "5")],
)
def test_call_with_a_truncated_message_fails_immediately(user: Session, path: str, code: str) -> None:
    headers = {"content-type": "application/grpc"}
    answer = user.rest.post(path, content=b"\0\0\0\0\x09ab", headers=headers, timeout=4)
    assert answer.headers["grpc-status"] == code


@pytest.mark.parametrize("way", WAYS)
def test_slow_request_body_times_out(ends: Ends, way: str) -> None:
    seconds, answer = ends[way].result()
    assert SHORTEST < seconds < LONGEST
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"REQUEST_TOO_SLOW" in answer
