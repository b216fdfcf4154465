"""An event loop in a thread. It runs the servers that the synchronous tests call over the network."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Background:
    """Runs coroutines and async contexts on an event loop in another thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="background", daemon=True)
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def run(self, coroutine: Coroutine[Any, Any, T], *, seconds: float = 60) -> T:
        """Runs a coroutine and returns its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(seconds)

    def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """Opens an async context until the end of the session."""
        return self.run(self._stack.enter_async_context(context))

    @contextmanager
    def during(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Keeps an async context open during a block."""

        async def enter(stack: AsyncExitStack) -> T:
            return await stack.enter_async_context(context)

        stack = AsyncExitStack()
        try:
            yield self.run(enter(stack))
        finally:
            self.run(stack.aclose())
