"""What every stream is held to, whatever it streams."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import Revocation, TrustBundle
from gen.pulsetrack.patient.v1 import WatchPatientsRequest, WatchPatientsResponse
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Database
from services.common.protobuf.contract import REMOTE_ADDRESS, ContractError
from services.common.rpc.tokens import TokenVerifier
from services.patient.errors import ResumeTokenInvalid
from services.patient.models import outbox_rows
from services.patient.service import PatientService
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import serve_servicer
from tests.harness.tokens import USER_ID, Signer, build_jwks

REQUEST = WatchPatientsRequest()
NO_DATABASE = Database("")
TEXT = "x" * 100_000
FROM_HERE = ((REMOTE_ADDRESS, "192.0.2.1"),)


class Streaming(PatientService):
    """Streams until the test says how it ends, as much as is taken, or nothing but its first answer."""

    def __init__(self, *, much: bool = False) -> None:
        super().__init__(NO_DATABASE, Outbox(outbox_rows), resume_key=b"")
        self._much = much
        self.end = threading.Event()
        self.failure: Exception | None = None
        self.closed = threading.Event()

    async def watch_patients(self, request: WatchPatientsRequest) -> AsyncGenerator[WatchPatientsResponse, None]:
        try:
            yield WatchPatientsResponse(resume_token="first")
            while not self.end.is_set():
                await asyncio.sleep(0 if self._much else 0.01)
                if self._much:
                    yield WatchPatientsResponse(resume_token=TEXT)
            if self.failure:
                raise self.failure
        finally:
            self.closed.set()


class Trust:
    """Keys and revocations in place of auth's, which a test changes."""

    def __init__(self, jwks: bytes) -> None:
        self.bundle = TrustBundle(jwks=jwks)

    async def fetch(self) -> TrustBundle:
        """Returns them."""
        return self.bundle


class Answering(PatientService):
    """Has a coroutine where a stream belongs."""

    async def watch_patients(self, request: WatchPatientsRequest) -> WatchPatientsResponse:  # type: ignore[override]
        return WatchPatientsResponse()


@pytest.fixture
def streaming() -> Streaming:
    return Streaming()


@pytest.fixture
def client(background: Background, signer: Signer, streaming: Streaming) -> Iterator[Client]:
    """A user who reads its streams."""
    with served(background, signer, streaming) as client:
        yield client


@contextmanager
def served(background: Background, signer: Signer, servicer: Streaming, **settings: Any) -> Iterator[Client]:
    """Serves streams to a user."""
    serving = serve_servicer("patient", servicer, TokenVerifier(signer.trust), **settings)
    with background.during(serving) as port, connect(port, "patient", signer.token("USER")) as client:
        yield client


def test_a_stream_that_is_over_ends_well(client: Client, streaming: Streaming) -> None:
    with client.watch_patients(REQUEST) as answers:
        assert next(answers).resume_token == "first"
        streaming.end.set()
        assert list(answers) == []


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [
        (ResumeTokenInvalid(), StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID"),
        (ZeroDivisionError("a secret"), StatusCode.INTERNAL, "INTERNAL"),
        (TimeoutError("a secret"), StatusCode.INTERNAL, "INTERNAL"),
    ],
)
def test_what_goes_wrong_in_a_stream_is_answered_like_in_a_call(
    client: Client, streaming: Streaming, failure: Exception, code: StatusCode, reason: str
) -> None:
    streaming.failure = failure
    with client.watch_patients(REQUEST) as answers:
        next(answers)
        streaming.end.set()
        with pytest.raises(Rejected) as refused:
            next(answers)
    assert (refused.value.code, refused.value.reason) == (code, reason)
    assert "secret" not in str(refused.value)


def test_a_stream_does_not_outlive_its_callers_token(client: Client, streaming: Streaming, signer: Signer) -> None:
    soon = int(time.time()) + 4
    with client.with_token(signer.token("USER", exp=soon)).watch_patients(REQUEST) as answers:
        next(answers)
        with pytest.raises(Rejected) as refused:
            next(answers)
    assert (refused.value.code, refused.value.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    assert streaming.closed.wait(20)


@pytest.mark.parametrize(("disabled", "why"), [(True, "USER_DISABLED"), (False, "TOKEN_INVALID")])
def test_a_stream_ends_when_its_callers_token_is_revoked(
    background: Background, signer: Signer, streaming: Streaming, *, disabled: bool, why: str
) -> None:
    trust = Trust(build_jwks(signer))
    serving = serve_servicer("patient", streaming, TokenVerifier(trust.fetch))
    with background.during(serving) as port, connect(port, "patient") as client:
        user, admin = (client.with_token(signer.token(role)) for role in ("USER", "ADMIN"))
        with user.watch_patients(REQUEST) as answers, admin.watch_patients(REQUEST) as others:
            next(answers)
            next(others)
            trust.bundle.revocations = [Revocation(USER_ID, token_version=1, disabled=disabled)]
            with pytest.raises(Rejected) as refused:
                next(answers)
            streaming.end.set()
            assert list(others) == []
    assert refused.value.reason == why


def test_a_stream_ends_when_the_key_of_its_callers_token_is_revoked(
    background: Background, signer: Signer, streaming: Streaming
) -> None:
    trust = Trust(build_jwks(signer))
    serving = serve_servicer("patient", streaming, TokenVerifier(trust.fetch))
    with (
        background.during(serving) as port,
        connect(port, "patient", signer.token("USER")) as client,
        client.watch_patients(REQUEST) as answers,
    ):
        next(answers)
        trust.bundle.jwks = build_jwks(Signer("another"))
        with pytest.raises(Rejected) as refused:
            next(answers)
    assert refused.value.reason == "TOKEN_INVALID"


def test_a_stream_is_closed_when_its_reader_hangs_up(client: Client, streaming: Streaming) -> None:
    with client.watch_patients(REQUEST) as answers:
        next(answers)
        assert not streaming.closed.is_set()
    assert streaming.closed.wait(20)


def test_a_stream_ends_at_once_when_the_server_does(
    background: Background, signer: Signer, streaming: Streaming
) -> None:
    serving = serve_servicer("patient", streaming, TokenVerifier(signer.trust), drain_seconds=50)
    with ExitStack() as stack:
        with background.during(serving) as port:
            client = stack.enter_context(connect(port, "patient", signer.token("USER")))
            answers = stack.enter_context(client.watch_patients(REQUEST))
            next(answers)
            start = time.monotonic()
        assert time.monotonic() - start < 25
        with pytest.raises(Rejected) as refused:
            next(answers)
    assert (refused.value.code, refused.value.reason) == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert streaming.closed.is_set()


def test_a_reader_who_is_too_slow_is_cut_off_and_told_so_when_he_reads_on(
    background: Background, signer: Signer
) -> None:
    streaming = Streaming(much=True)
    with (
        served(background, signer, streaming, stream_write_seconds=0.5) as client,
        client.watch_patients(REQUEST) as answers,
    ):
        next(answers)
        assert streaming.closed.wait(60)
        with pytest.raises(Rejected) as refused:
            list(answers)
    assert (refused.value.code, refused.value.reason) == (StatusCode.RESOURCE_EXHAUSTED, "READER_TOO_SLOW")


def test_who_was_cut_off_takes_no_place_from_others(background: Background, signer: Signer) -> None:
    streaming = Streaming(much=True)
    limits = {"stream_write_seconds": 0.5, "concurrent_streams": 1}
    with served(background, signer, streaming, **limits) as client, client.watch_patients(REQUEST) as stuck:
        next(stuck)
        assert streaming.closed.wait(60)
        with client.watch_patients(REQUEST) as answers:
            assert next(answers).resume_token == "first"


def test_one_stream_more_is_refused_and_calls_go_on(
    background: Background, signer: Signer, streaming: Streaming
) -> None:
    with served(background, signer, streaming, concurrent_streams=2, concurrent_calls=1) as client:
        with client.watch_patients(REQUEST) as first, client.watch_patients(REQUEST) as second:
            assert next(first) == next(second)
            with client.watch_patients(REQUEST) as third, pytest.raises(Rejected) as refused:
                next(third)
        assert (refused.value.code, refused.value.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert streaming.closed.wait(20)


def test_one_user_cannot_hold_more_than_a_share(background: Background, signer: Signer, streaming: Streaming) -> None:
    with served(background, signer, streaming, streams_per_user=2) as client:
        with client.watch_patients(REQUEST) as first, client.watch_patients(REQUEST) as second:
            assert next(first) == next(second)
            with client.watch_patients(REQUEST) as third, pytest.raises(Rejected) as refused:
                next(third)
            with client.with_token(signer.token("USER", sub="another")).watch_patients(REQUEST) as others:
                assert next(others).resume_token == "first"
        assert (refused.value.code, refused.value.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")


def test_a_stream_that_ended_gives_its_share_back(background: Background, signer: Signer, streaming: Streaming) -> None:
    with served(background, signer, streaming, streams_per_user=1, streams_per_address=1) as client:
        for _ in range(3):
            streaming.closed.clear()
            with client.watch_patients(REQUEST, metadata=FROM_HERE) as answers:
                assert next(answers).resume_token == "first"
            assert streaming.closed.wait(20)


@pytest.mark.parametrize(
    "addresses",
    [("192.0.2.1", "192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2:0:0:1", "2001:db8:0:1::1")],
    ids=["IPv4", "IPv6"],
)
def test_one_address_cannot_hold_more_than_a_share(
    background: Background, signer: Signer, streaming: Streaming, addresses: tuple[str, ...]
) -> None:
    here, also_here, there = (((REMOTE_ADDRESS, address),) for address in addresses)
    with served(background, signer, streaming, streams_per_address=1) as client:
        other = client.with_token(signer.token("USER", sub="another"))
        with client.watch_patients(REQUEST, metadata=here) as first:
            next(first)
            with (
                other.watch_patients(REQUEST, metadata=also_here) as second,
                pytest.raises(Rejected) as refused,
            ):
                next(second)
            with other.watch_patients(REQUEST, metadata=there) as third:
                assert next(third).resume_token == "first"
        assert refused.value.reason == "RATE_LIMITED"


def test_a_service_whose_stream_is_no_stream_does_not_start(background: Background, signer: Signer) -> None:
    servicer = Answering(NO_DATABASE, Outbox(outbox_rows), resume_key=b"")
    starting = background.during(serve_servicer("patient", servicer, TokenVerifier(signer.trust)))
    with pytest.raises(ContractError, match="has no async generator watch_patients"), starting:
        pass
