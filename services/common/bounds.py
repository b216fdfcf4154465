"""Limits how much of one kind of work runs concurrently in a process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.common.errors import RateLimited


class Bound:
    """Limits the number of concurrent blocks. Further blocks wait briefly, then fail."""

    def __init__(self, most: int, *, wait_seconds: float = 1) -> None:
        self._slots = asyncio.Semaphore(most)
        self._wait_seconds = wait_seconds

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for a slot and holds it during a block. Raises RateLimited."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise RateLimited from None
        try:
            yield
        finally:
            self._slots.release()
