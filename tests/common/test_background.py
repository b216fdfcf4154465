"""Background tasks: when rounds begin, how failures are handled, and how a task stops."""

import asyncio
import logging
from collections.abc import Iterable
from contextvars import ContextVar

import pytest

from services.common.background import BackgroundTask
from services.common.errors import DependencyUnavailable

NEVER = 3600.0
"""An interval in seconds that no test waits for."""

Outcome = bool | Exception
"""What a round returns or raises."""

variable: ContextVar[str] = ContextVar("variable", default="unset")


class Rounds:
    """Rounds that return or raise the given outcomes in order, then return False."""

    def __init__(self, outcomes: Iterable[Outcome] = ()) -> None:
        self.count = 0
        self.is_cancelled = False
        self._outcomes = list(outcomes)
        self._begun = asyncio.Condition()
        self._gate = asyncio.Event()
        self._gate.set()

    def task(self, interval: float = NEVER) -> BackgroundTask:
        """Returns a task that runs these rounds."""
        return BackgroundTask(self._run, activity="counting rounds", interval=interval)

    def block(self) -> None:
        """Makes the next rounds wait until `unblock`."""
        self._gate.clear()

    def unblock(self) -> None:
        """Lets blocked rounds continue."""
        self._gate.set()

    async def until(self, count: int) -> None:
        """Waits until this many rounds have begun."""
        async with asyncio.timeout(30), self._begun:
            await self._begun.wait_for(lambda: self.count >= count)

    async def _run(self) -> bool:
        async with self._begun:
            self.count += 1
            self._begun.notify_all()
        try:
            await self._gate.wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        outcome = self._outcomes.pop(0) if self._outcomes else False
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The upper bounds of the delays between retries, which take no time."""
    bounds = list[float]()

    def choose(_: float, longest: float) -> float:
        bounds.append(longest)
        return 0

    monkeypatch.setattr("services.common.retry.random.uniform", choose)
    return bounds


def test_first_round_begins_at_once() -> None:
    async def scenario() -> None:
        rounds = Rounds()
        async with rounds.task():
            await rounds.until(1)

    asyncio.run(scenario())


def test_round_with_more_work_is_followed_at_once() -> None:
    async def scenario() -> None:
        rounds = Rounds([True, True])
        async with rounds.task():
            await rounds.until(3)

    asyncio.run(scenario())


def test_next_round_begins_after_the_interval() -> None:
    async def scenario() -> None:
        rounds = Rounds()
        async with rounds.task(interval=0.001):
            await rounds.until(3)

    asyncio.run(scenario())


def test_woken_task_does_not_wait_for_the_interval() -> None:
    async def scenario() -> None:
        rounds = Rounds()
        async with rounds.task() as task:
            await rounds.until(1)
            task.wake()
            await rounds.until(2)

    asyncio.run(scenario())


def test_wake_during_a_round_is_not_lost() -> None:
    async def scenario() -> None:
        rounds = Rounds()
        rounds.block()
        async with rounds.task() as task:
            await rounds.until(1)
            task.wake()
            rounds.unblock()
            await rounds.until(2)

    asyncio.run(scenario())


def test_unavailable_dependency_is_retried_with_exponential_backoff(delays: list[float]) -> None:
    async def scenario() -> None:
        rounds = Rounds([DependencyUnavailable()] * 7)
        async with rounds.task():
            await rounds.until(8)

    asyncio.run(scenario())
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0]


def test_unexpected_exception_is_logged_and_rounds_continue(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        rounds = Rounds([KeyError("bug")])
        async with rounds.task(interval=0.001):
            await rounds.until(2)

    asyncio.run(scenario())
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "counting rounds failed"
    assert record.exc_info


def test_stop_cancels_a_round_in_progress() -> None:
    async def scenario() -> None:
        rounds = Rounds()
        rounds.block()
        task = rounds.task()
        task.start()
        await rounds.until(1)
        assert not await task.stop()
        assert rounds.is_cancelled

    asyncio.run(scenario())


def test_stop_with_grace_period_runs_a_last_round() -> None:
    async def scenario() -> None:
        rounds = Rounds()
        task = rounds.task()
        task.start()
        await rounds.until(1)
        assert await task.stop(grace_seconds=30)
        assert rounds.count == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("outcome", [True, KeyError("bug")], ids=["more", "failure"])
def test_grace_period_lasts_until_a_round_completes_the_work(outcome: Outcome) -> None:
    async def scenario() -> None:
        rounds = Rounds([False, outcome])
        task = rounds.task(interval=0.001) if isinstance(outcome, Exception) else rounds.task()
        rounds.block()
        task.start()
        await rounds.until(1)
        stopping = asyncio.create_task(task.stop(grace_seconds=30))
        rounds.unblock()
        assert await stopping
        assert rounds.count >= 3

    asyncio.run(scenario())


def test_round_that_outlasts_the_grace_period_is_cancelled() -> None:
    async def scenario() -> None:
        rounds = Rounds()
        rounds.block()
        task = rounds.task()
        task.start()
        await rounds.until(1)
        assert not await task.stop(grace_seconds=0.001)
        assert rounds.is_cancelled

    asyncio.run(scenario())


def test_rounds_do_not_inherit_context_variables() -> None:
    async def scenario() -> None:
        seen = asyncio.Queue[str]()

        async def record_variable() -> None:
            seen.put_nowait(variable.get())

        variable.set("of a call")
        async with BackgroundTask(record_variable, activity="recording", interval=NEVER):
            assert await seen.get() == "unset"

    asyncio.run(scenario())
