"""Incomplete request bodies time out, and do not affect other clients until then."""

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
from tests.security.raw import open_connection
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
"""The bounds, in seconds, of the time until a slow request is ended."""

Results = dict[str, Future[tuple[float, bytes]]]


@pytest.fixture(scope="module")
def results(system: Instance, user: Session) -> Iterator[Results]:
    """The result of each way of sending a body: seconds until the end, and the response."""
    with ThreadPoolExecutor(len(WAYS)) as threads:
        yield {way: threads.submit(trickle, system, user, *parts) for way, parts in WAYS.items()}


def trickle(system: Instance, user: Session, rest_of_head: str, part: bytes) -> tuple[float, bytes]:
    """Sends the part repeatedly until a response arrives."""
    start = time.monotonic()
    with open_connection(system, (HEAD.format(user.token) + rest_of_head).encode()) as slow:
        slow.settimeout(0.2)
        while time.monotonic() - start < 2 * LONGEST:
            with suppress(TimeoutError):
                slow.sendall(part)
                return time.monotonic() - start, slow.recv(65536)
    return time.monotonic() - start, b""


def count_active_requests(system: Instance, where: str) -> int:
    """Returns the number of active calls of the gateway, downstream or to a service."""
    admin = f"http://{HOST}:{system.state().ports['gateway-admin']}"
    stats = httpx.get(f"{admin}/stats", params={"filter": rf"^{where}_rq_active$"})
    return int(stats.text.split(": ")[1])


def test_calls_without_a_message_wait_at_the_gateway_until_their_deadline(
    system: Instance, user: Session, background: Background, results: Results
) -> None:
    with ThreadPoolExecutor(1) as threads:
        silent = threads.submit(background.run, call_without_messages(system, user))
        eventually(lambda: count_active_requests(system, "http.gateway.downstream") >= MANY)
        assert user.post("/v1/patients", a_patient())["id"]
        eventually(lambda: count_active_requests(system, "cluster.patient.upstream") == 0)
        assert count_active_requests(system, "http.gateway.downstream") >= MANY
        codes = silent.result()
    assert codes == {(grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_TOO_SLOW")}


async def call_without_messages(system: Instance, user: Session) -> set[tuple[grpc.StatusCode, str]]:
    """Makes many calls that never send a message, and returns the distinct errors."""

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(2 * LONGEST)
        yield b""

    async def end(channel: grpc.aio.Channel) -> tuple[grpc.StatusCode, str]:
        call: Any = channel.stream_unary(CREATE)
        try:
            await call(nothing(), metadata=[("authorization", f"Bearer {user.token}")])
        except grpc.aio.AioRpcError as error:
            rejected = Rejected(error)
        return rejected.code, rejected.reason

    own = [("grpc.use_local_subchannel_pool", 1)]  # separate connections: one carries 256 calls
    address = f"{HOST}:{system.port}"
    async with grpc.aio.insecure_channel(address, own) as one, grpc.aio.insecure_channel(address, own) as other:
        return set(await asyncio.gather(*(end(channel) for channel in (one, other) for _ in range(MANY // 2))))


@pytest.mark.parametrize(
    ("path", "code"),
    [(CREATE, "3"), ("/pulsetrack.auth.v1.AuthService/GetJwks", "3"), ("/grpc.health.v1.Health/Check", "5")],
)
def test_call_with_a_truncated_message_fails_immediately(user: Session, path: str, code: str) -> None:
    headers = {"content-type": "application/grpc"}
    response = user.rest.post(path, content=b"\0\0\0\0\x09ab", headers=headers, timeout=4)
    assert response.headers["grpc-status"] == code


@pytest.mark.parametrize("way", WAYS)
def test_slow_request_body_times_out(results: Results, way: str) -> None:
    seconds, response = results[way].result()
    assert SHORTEST < seconds < LONGEST
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"REQUEST_TOO_SLOW" in response
