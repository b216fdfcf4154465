"""Streams of answers: what each is held to, whatever it streams."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Protocol, TypeVar

from services.common.context import Caller
from services.common.errors import DependencyUnavailable, Failure, ReaderTooSlow, TokenInvalid

T = TypeVar("T")


class Reader(Protocol):
    """Who reads a stream: grpc's context."""

    async def write(self, message: bytes) -> None:
        """Sends an answer as soon as the reader has room for it."""


class Stream:
    """A stream that is open: whose it is, and why it ends when its timeout expires."""

    def __init__(self, caller: Caller | None) -> None:
        self.caller = caller
        self.timeout = asyncio.timeout(caller.expires - time.time() if caller else None)
        self.failure: Failure = TokenInvalid()

    def end(self, failure: Failure) -> None:
        """Ends the stream with a failure, unless it is ending."""
        if not self.timeout.expired():
            self.failure = failure
            self.timeout.reschedule(asyncio.get_running_loop().time())


class Streams:
    """The streams of a server. None outlives its caller's token, the patience with its reader, or the server."""

    def __init__(self, *, write_seconds: float) -> None:
        """Takes how long a reader may take for an answer."""
        self._write_seconds = write_seconds
        self._open: set[Stream] = set()
        self._ending = False

    async def send(
        self, answers: AsyncGenerator[T, None], dumps: Callable[[T], bytes], reader: Reader, caller: Caller | None
    ) -> None:
        """Sends answers until there are no more, and closes their generator, also when the caller hangs up.

        Raises TokenInvalid when the caller's token expires or is revoked, UserDisabled, ReaderTooSlow, and
        DependencyUnavailable when the server ends.
        """
        with self._opened(caller) as stream:
            try:
                async with stream.timeout, aclosing(answers):
                    async for answer in answers:
                        await self._write(dumps(answer), reader)
            except TimeoutError:
                if not stream.timeout.expired():
                    raise
                raise stream.failure from None

    def end(self) -> None:
        """Ends all streams, and those to come: clients continue at another server, or at this one when it is back."""
        self._ending = True
        for stream in self._open:
            stream.end(DependencyUnavailable())

    def end_refused(self, check: Callable[[Caller], None]) -> None:
        """Ends the streams for whose caller the check raises a Failure, with that."""
        for stream in self._open:
            try:
                if stream.caller:
                    check(stream.caller)
            except Failure as failure:
                stream.end(failure)

    @contextmanager
    def _opened(self, caller: Caller | None) -> Iterator[Stream]:
        if self._ending:
            raise DependencyUnavailable
        stream = Stream(caller)
        self._open.add(stream)
        try:
            yield stream
        finally:
            self._open.discard(stream)

    async def _write(self, answer: bytes, reader: Reader) -> None:
        patience = asyncio.timeout(self._write_seconds)
        try:
            async with patience:
                await reader.write(answer)
        except TimeoutError:
            if not patience.expired():
                raise
            raise ReaderTooSlow from None
