"""Calls with an access token, a deadline, and retries."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Protocol, TypeAlias, TypeVar

import grpc

from pulsetrack.errors import PulseTrackError, ResourceExhausted, Unauthenticated, Unavailable
from pulsetrack.session import Session

_FIRST_DELAY, _MAX_DELAY = 0.1, 5.0
_ATTEMPTS = 3
"""Failed attempts to begin a stream after which it fails. A stream that has begun is resumed without a limit."""


class ListRequest(Protocol):
    """The request of a list method."""

    page_token: str


class ListResponse(Protocol):
    """The response of a list method."""

    next_page_token: str


class Resumable(Protocol):
    """The request of a stream that can be resumed, or a message of it."""

    resume_token: str


Metadata: TypeAlias = tuple[tuple[str, str], ...]
Request = TypeVar("Request")
Response = TypeVar("Response")
Query = TypeVar("Query", bound=ListRequest)
Page = TypeVar("Page", bound=ListResponse)
Item = TypeVar("Item")
Resumed = TypeVar("Resumed", bound=Resumable)
Streamed = TypeVar("Streamed", bound=Resumable)


class Caller:
    """Makes calls in a session."""

    def __init__(self, session: Session, timeout: float) -> None:
        self.session = session
        self._timeout = timeout

    async def metadata(self, *, rejected: str = "") -> Metadata:
        """Returns the metadata that authenticates a call. Raises PulseTrackError."""
        return (("authorization", f"Bearer {await self.session.token(rejected=rejected)}"),)

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Response:
        """Returns the response of a method. Raises PulseTrackError.

        Repeats the call if the server rejected it before it had an effect: because of a rate limit, or once because of
        the access token. After an interruption, when it may have had an effect, repeats it only if it is idempotent.
        The timeout, in seconds, covers all attempts.
        """
        limit = time.monotonic() + (timeout or self._timeout)
        attempt, rejected = 0, ""
        while True:
            may_have_run = False
            try:
                metadata = await self.metadata(rejected=rejected)
                may_have_run = not idempotent
                return await method(request, timeout=max(limit - time.monotonic(), 0), metadata=metadata)
            except grpc.aio.AioRpcError as failure:
                error = PulseTrackError.of(failure)
                if is_token_rejected(error) and not rejected:
                    rejected = metadata[0][1].removeprefix("Bearer ")
                    continue
            except PulseTrackError as failure:
                error = failure
            wait = delay(error, attempt)
            repeatable = isinstance(error, ResourceExhausted) or (is_interrupted(error) and not may_have_run)
            if not repeatable or time.monotonic() + wait >= limit:
                raise error
            await asyncio.sleep(wait)
            attempt += 1

    async def list(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Query, Page],
        request: Query,
        items: Callable[[Page], Iterable[Item]],
    ) -> AsyncGenerator[Item, None]:
        """Yields the items of all pages. Raises PulseTrackError."""
        while True:
            page = await self.call(method, request, idempotent=True)
            for item in items(page):
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Resumed, Streamed],
        request: Resumed,
        *,
        silence: float,
    ) -> AsyncGenerator[Streamed, None]:
        """Yields the messages of a stream. Raises PulseTrackError.

        Resumes after a disconnect, a restart of the service, an expired access token, or `silence` seconds without a
        message. A message without a resume token is the last one.
        """
        attempt, rejected, begun = 0, "", False
        while True:
            metadata: Metadata = ()
            try:
                metadata = await self.metadata(rejected=rejected)
                async with aclosing(_read(method(request, metadata=metadata), silence)) as messages:
                    async for message in messages:
                        attempt, rejected, begun, request.resume_token = 0, "", True, message.resume_token
                        yield message
                        if not message.resume_token:
                            return
                error: PulseTrackError = Unavailable(grpc.StatusCode.UNAVAILABLE, "The stream ended.")
            except PulseTrackError as failure:
                error = failure
            if is_token_rejected(error) and metadata and not rejected:
                rejected = metadata[0][1].removeprefix("Bearer ")
                continue
            resumable = is_interrupted(error) or isinstance(error, ResourceExhausted)
            if not resumable or (attempt == _ATTEMPTS and not begun):
                raise error
            await asyncio.sleep(delay(error, attempt))
            attempt += 1


async def _read(stream: grpc.aio.UnaryStreamCall[Resumed, Streamed], silence: float) -> AsyncGenerator[Streamed, None]:
    messages = aiter(stream)
    try:
        while message := await asyncio.wait_for(anext(messages, None), silence):
            yield message
    except TimeoutError:
        raise Unavailable(grpc.StatusCode.UNAVAILABLE, "The stream was silent.") from None
    except grpc.aio.AioRpcError as failure:
        raise PulseTrackError.of(failure) from None
    finally:
        stream.cancel()


def is_interrupted(error: PulseTrackError) -> bool:
    """Returns whether the system was unavailable, or the connection ended: then no reason is given."""
    reset = error.code in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN} and not error.reason
    return reset or isinstance(error, Unavailable)


def is_token_rejected(error: PulseTrackError) -> bool:
    """Returns whether a call with another access token may succeed."""
    return isinstance(error, Unauthenticated) and error.reason == "TOKEN_INVALID"


def delay(error: PulseTrackError, attempt: int) -> float:
    """Returns the seconds before the next attempt: as the server asks, or exponential with jitter."""
    return error.retry_delay or random.uniform(0.5, 1) * min(_FIRST_DELAY * 2**attempt, _MAX_DELAY)  # noqa: S311
