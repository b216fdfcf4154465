"""The limits that apply to every stream."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import Revocation, TrustBundle
from gen.pulsetrack.patient.v1 import WatchPatientsRequest, WatchPatientsResponse
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Database
from services.common.protobuf.contract import REMOTE_ADDRESS
from services.common.rpc import server
from services.common.rpc.client import open_channel
from services.common.rpc.streams import Streams
from services.common.rpc.tokens import TokenVerifier
from services.patient.errors import ResumeTokenInvalid
from services.patient.models import outbox_rows
from services.patient.service import PatientService
from services.patient.servicers import create_servicers
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import UNAVAILABLE, serve_servicer
from tests.harness.tokens import USER_ID, Signer, build_jwks

REQUEST = WatchPatientsRequest()
NO_DATABASE, OUTBOX = Database(""), Outbox(outbox_rows)
TEXT = "x" * 100_000
CLIENT_ADDRESS = ((REMOTE_ADDRESS, "192.0.2.1"),)


class Streaming(PatientService):
    """Streams one response, or responses without pause, until the test ends the stream."""

    def __init__(self, *, continuous: bool = False, on_start: Callable[[], None] = lambda: None) -> None:
        super().__init__(NO_DATABASE, OUTBOX, resume_key=b"")
        self._continuous = continuous
        self._on_start = on_start
        self.end = threading.Event()
        self.failure: Exception | None = None
        self.closed = threading.Event()

    async def watch_patients(self, request: WatchPatientsRequest) -> AsyncGenerator[WatchPatientsResponse, None]:  # type: ignore[override]
        try:
            asyncio.get_running_loop().call_soon(self._on_start)  # runs while the first response is being sent
            yield WatchPatientsResponse(resume_token="first")
            while not self.end.is_set():
                await asyncio.sleep(0 if self._continuous else 0.01)
                if self._continuous:
                    yield WatchPatientsResponse(resume_token=TEXT)
            if self.failure:
                raise self.failure
        finally:
            self.closed.set()


class Trust:
    """A fake of auth's keys and revocations."""

    def __init__(self, jwks: bytes) -> None:
        self.bundle = TrustBundle(jwks=jwks)

    async def fetch(self) -> TrustBundle:
        """Returns the keys and revocations."""
        return self.bundle


@pytest.fixture
def streaming() -> Streaming:
    return Streaming()


@pytest.fixture
def client(background: Background, signer: Signer, streaming: Streaming) -> Iterator[Client]:
    """A user's client of the streaming service."""
    with serve_streams(background, signer, streaming) as client:
        yield client


@asynccontextmanager
async def serve(servicer: Streaming, verifier: TokenVerifier, **settings: Any) -> AsyncIterator[int]:
    """Serves a streaming service and yields its port."""
    billing = open_channel(UNAVAILABLE)
    servicers = create_servicers(NO_DATABASE, OUTBOX, servicer, billing, resume_key=b"", erasure_delay_days=30)
    async with serve_servicer("patient", servicers, verifier, **settings) as port:
        yield port


@contextmanager
def serve_streams(background: Background, signer: Signer, servicer: Streaming, **settings: Any) -> Iterator[Client]:
    """Serves a streaming service and yields a user's client of it."""
    serving = serve(servicer, TokenVerifier(signer.trust), **settings)
    with background.during(serving) as port, connect(port, "patient", signer.token("USER")) as client:
        yield client


def test_completed_stream_ends_with_ok(client: Client, streaming: Streaming) -> None:
    with client.watch_patients(REQUEST) as responses:
        assert next(responses).resume_token == "first"
        streaming.end.set()
        assert list(responses) == []


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [
        (ResumeTokenInvalid(), StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID"),
        (ZeroDivisionError("a secret"), StatusCode.INTERNAL, "INTERNAL"),
        (TimeoutError("a secret"), StatusCode.INTERNAL, "INTERNAL"),
    ],
)
def test_stream_returns_errors_like_a_unary_call(
    client: Client, streaming: Streaming, failure: Exception, code: StatusCode, reason: str
) -> None:
    streaming.failure = failure
    with client.watch_patients(REQUEST) as responses:
        next(responses)
        streaming.end.set()
        with pytest.raises(Rejected) as rejected:
            next(responses)
    assert (rejected.value.code, rejected.value.reason) == (code, reason)
    assert "secret" not in str(rejected.value)


def test_stream_ends_when_its_token_expires(client: Client, streaming: Streaming, signer: Signer) -> None:
    soon = int(time.time()) + 4
    with client.with_token(signer.token("USER", exp=soon)).watch_patients(REQUEST) as responses:
        next(responses)
        with pytest.raises(Rejected) as rejected:
            next(responses)
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    assert streaming.closed.wait(20)


@pytest.mark.parametrize(("disabled", "why"), [(True, "USER_DISABLED"), (False, "TOKEN_INVALID")])
def test_stream_ends_when_its_token_is_revoked(
    background: Background, signer: Signer, streaming: Streaming, *, disabled: bool, why: str
) -> None:
    trust = Trust(build_jwks(signer))
    serving = serve(streaming, TokenVerifier(trust.fetch))
    with background.during(serving) as port, connect(port, "patient") as client:
        user, admin = (client.with_token(signer.token(role)) for role in ("USER", "ADMIN"))
        with user.watch_patients(REQUEST) as responses, admin.watch_patients(REQUEST) as others:
            next(responses)
            next(others)
            trust.bundle.revocations = [Revocation(USER_ID, token_version=1, disabled=disabled)]
            with pytest.raises(Rejected) as rejected:
                next(responses)
            streaming.end.set()
            assert list(others) == []
    assert rejected.value.reason == why


def test_stream_ends_when_the_key_of_its_token_is_revoked(
    background: Background, signer: Signer, streaming: Streaming
) -> None:
    trust = Trust(build_jwks(signer))
    serving = serve(streaming, TokenVerifier(trust.fetch))
    with (
        background.during(serving) as port,
        connect(port, "patient", signer.token("USER")) as client,
        client.watch_patients(REQUEST) as responses,
    ):
        next(responses)
        trust.bundle.jwks = build_jwks(Signer("another"))
        with pytest.raises(Rejected) as rejected:
            next(responses)
    assert rejected.value.reason == "TOKEN_INVALID"


def test_disconnect_closes_the_stream(client: Client, streaming: Streaming) -> None:
    with client.watch_patients(REQUEST) as responses:
        next(responses)
        assert not streaming.closed.is_set()
    assert streaming.closed.wait(20)


def test_stream_ends_at_once_on_shutdown(background: Background, signer: Signer, streaming: Streaming) -> None:
    serving = serve(streaming, TokenVerifier(signer.trust), drain_seconds=50)
    with ExitStack() as stack:
        with background.during(serving) as port:
            client = stack.enter_context(connect(port, "patient", signer.token("USER")))
            responses = stack.enter_context(client.watch_patients(REQUEST))
            next(responses)
            start = time.monotonic()
        assert time.monotonic() - start < 25
        with pytest.raises(Rejected) as rejected:
            next(responses)
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert streaming.closed.is_set()


def test_stream_that_ends_while_its_first_response_is_sent_returns_its_error(
    background: Background, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Streams] = []

    class RecordedStreams(Streams):
        def __init__(self, *, write_seconds: float) -> None:
            super().__init__(write_seconds=write_seconds)
            opened.append(self)

    def end() -> None:
        opened[0].end()

    monkeypatch.setattr(server, "Streams", RecordedStreams)
    with (
        serve_streams(background, signer, Streaming(on_start=end)) as client,
        client.watch_patients(REQUEST) as responses,
        pytest.raises(Rejected) as rejected,
    ):
        list(responses)
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")


def test_stream_of_a_slow_reader_ends_with_reader_too_slow(background: Background, signer: Signer) -> None:
    streaming = Streaming(continuous=True)
    with (
        serve_streams(background, signer, streaming, stream_write_seconds=0.5) as client,
        client.watch_patients(REQUEST) as responses,
    ):
        next(responses)
        assert streaming.closed.wait(60)
        with pytest.raises(Rejected) as rejected:
            list(responses)
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.RESOURCE_EXHAUSTED, "READER_TOO_SLOW")


def test_ended_stream_of_a_slow_reader_releases_its_slot(background: Background, signer: Signer) -> None:
    streaming = Streaming(continuous=True)
    limits = {"stream_write_seconds": 0.5, "concurrent_streams": 1}
    with serve_streams(background, signer, streaming, **limits) as client, client.watch_patients(REQUEST) as stuck:
        next(stuck)
        assert streaming.closed.wait(60)
        with client.watch_patients(REQUEST) as responses:
            assert next(responses).resume_token == "first"


def test_stream_above_the_limit_is_rejected_and_unary_calls_continue(
    background: Background, signer: Signer, streaming: Streaming
) -> None:
    with serve_streams(background, signer, streaming, concurrent_streams=2, concurrent_calls=1) as client:
        with client.watch_patients(REQUEST) as first, client.watch_patients(REQUEST) as second:
            assert next(first) == next(second)
            with client.watch_patients(REQUEST) as third, pytest.raises(Rejected) as rejected:
                next(third)
        assert (rejected.value.code, rejected.value.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert streaming.closed.wait(20)


def test_streams_of_one_user_are_limited(background: Background, signer: Signer, streaming: Streaming) -> None:
    with serve_streams(background, signer, streaming, streams_per_user=2) as client:
        with client.watch_patients(REQUEST) as first, client.watch_patients(REQUEST) as second:
            assert next(first) == next(second)
            with client.watch_patients(REQUEST) as third, pytest.raises(Rejected) as rejected:
                next(third)
            with client.with_token(signer.token("USER", sub="another")).watch_patients(REQUEST) as others:
                assert next(others).resume_token == "first"
        assert (rejected.value.code, rejected.value.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")


def test_ended_stream_releases_its_quota(background: Background, signer: Signer, streaming: Streaming) -> None:
    with serve_streams(background, signer, streaming, streams_per_user=1, streams_per_address=1) as client:
        for _ in range(3):
            streaming.closed.clear()
            with client.watch_patients(REQUEST, metadata=CLIENT_ADDRESS) as responses:
                assert next(responses).resume_token == "first"
            assert streaming.closed.wait(20)


@pytest.mark.parametrize(
    "addresses",
    [("192.0.2.1", "192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2:0:0:1", "2001:db8:0:1::1")],
    ids=["IPv4", "IPv6"],
)
def test_streams_of_one_address_are_limited(
    background: Background, signer: Signer, streaming: Streaming, addresses: tuple[str, ...]
) -> None:
    first_client, same_network, other_network = (((REMOTE_ADDRESS, address),) for address in addresses)
    with serve_streams(background, signer, streaming, streams_per_address=1) as client:
        other = client.with_token(signer.token("USER", sub="another"))
        with client.watch_patients(REQUEST, metadata=first_client) as first:
            next(first)
            with other.watch_patients(REQUEST, metadata=same_network) as second, pytest.raises(Rejected) as rejected:
                next(second)
            with other.watch_patients(REQUEST, metadata=other_network) as third:
                assert next(third).resume_token == "first"
        assert rejected.value.reason == "RATE_LIMITED"
