"""Background tasks, which repeat a round of work while a service runs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Self

from services.common.retry import retry_while_unavailable

_log = logging.getLogger(__name__)


class BackgroundTask:
    """Repeats a round of work while its context is open, or from `start` to `stop`.

    Example: `async with BackgroundTask(self._deliver, activity="delivering events", interval=1.0):`

    A round returns True if more work is due at once. Otherwise the next round begins after the interval, or earlier
    when the task is woken. A round that raises DependencyUnavailable is retried with exponential backoff. Any other
    exception is logged, and the next round begins after the interval.
    """

    def __init__(self, run_round: Callable[[], Awaitable[bool | None]], *, activity: str, interval: float) -> None:
        """Takes a round, its description for the log ("sealing access events"), and the interval in seconds."""
        self._run_round = run_round
        self._activity = activity
        self._interval = interval
        self._woken = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def start(self) -> None:
        """Starts the first round, without the context variables of the caller. A stopped task can be started again."""
        self._is_stopping = False
        self._task = asyncio.create_task(self._run(), name=self._activity, context=Context())

    def wake(self) -> None:
        """Begins the next round without waiting for the end of the interval."""
        self._woken.set()

    async def stop(self, *, grace_seconds: float = 0) -> bool:
        """Stops the task, and returns whether it completed its work within the grace period.

        Within the grace period, rounds begin until one returns without more work. A round that has not returned at
        the end of the period is cancelled.
        """
        if grace_seconds:
            self._is_stopping = True
            self.wake()
            await asyncio.wait([self._task], timeout=grace_seconds)
        is_complete = self._task.done()
        self._task.cancel()
        await asyncio.wait([self._task])
        return is_complete

    async def _run(self) -> None:
        while True:
            is_last = self._is_stopping
            self._woken.clear()
            has_more = False
            try:
                has_more = bool(await retry_while_unavailable(self._run_round, activity=self._activity))
                if is_last and not has_more:
                    return
            except Exception:  # noqa: BLE001 - a bug in one round must not end the task
                _log.exception("%s failed", self._activity)
            if not has_more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._interval):
                        await self._woken.wait()
