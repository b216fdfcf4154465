"""Streams of answers: what each is held to, whatever it streams."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Protocol, TypeVar

from services.common.errors import DependencyUnavailable, ReaderTooSlow, TokenInvalid
from services.common.identity import Caller

T = TypeVar("T")


class Reader(Protocol):
    """Who reads a stream: grpc's context."""

    async def write(self, message: bytes) -> None:
        """Sends an answer as soon as the reader has room for it."""


class Streams:
    """The streams of a server. None outlives its caller's token, the patience with its reader, or the server."""

    def __init__(self, *, write_seconds: float) -> None:
        """Takes how long a reader may take for an answer."""
        self._write_seconds = write_seconds
        self._open: set[asyncio.Timeout] = set()
        self._ending = False

    async def send(
        self, answers: AsyncGenerator[T, None], dumps: Callable[[T], bytes], reader: Reader, caller: Caller | None
    ) -> None:
        """Sends answers until there are no more, and closes their generator, also when the caller hangs up.

        Raises TokenInvalid when the caller's token expires, ReaderTooSlow, and DependencyUnavailable when the server
        ends.
        """
        with self._bounds(caller) as bounds:
            try:
                async with bounds, aclosing(answers):
                    async for answer in answers:
                        await self._write(dumps(answer), reader)
            except TimeoutError:
                if not bounds.expired():
                    raise
                raise (DependencyUnavailable if self._ending else TokenInvalid) from None

    def end(self) -> None:
        """Ends all streams, and those to come: their clients go on at another server, or at this one's next life."""
        self._ending = True
        for bounds in [bounds for bounds in self._open if not bounds.expired()]:
            bounds.reschedule(asyncio.get_running_loop().time())

    @contextmanager
    def _bounds(self, caller: Caller | None) -> Iterator[asyncio.Timeout]:
        if self._ending:
            raise DependencyUnavailable
        bounds = asyncio.timeout(caller.expires - time.time() if caller else None)
        self._open.add(bounds)
        try:
            yield bounds
        finally:
            self._open.discard(bounds)

    async def _write(self, answer: bytes, reader: Reader) -> None:
        patience = asyncio.timeout(self._write_seconds)
        try:
            async with patience:
                await reader.write(answer)
        except TimeoutError:
            if not patience.expired():
                raise
            raise ReaderTooSlow from None
