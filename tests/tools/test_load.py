"""`make load`: when calls begin, and how they are counted."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tools.load import watchers
from tools.load.clinic import Clinic
from tools.load.doors import Answer, Door, Json
from tools.load.pace import Arrivals, InFlight, Pace
from tools.load.record import OK, Outcome, Record, Sample, Summary, percentile
from tools.load.watchers import Watchers


def drive(pace: Pace, call: Callable[[], Awaitable[Outcome]]) -> Record:
    record = Record()
    asyncio.run(pace.drive(call, record))
    record.close()
    return record


def sample(took: float, status: str = OK) -> Sample:
    return Sample("GetPatient", 0, 0, took, status)


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (99.5, 100), (100, 100), (0, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 101)], percent) == value


def test_a_summary_counts_calls_that_failed_too() -> None:
    summary = Summary.of([sample(0.1), sample(0.3), sample(0.2, "503 INTERNAL"), sample(0.2, "TIMEOUT")])
    assert (summary.count, summary.failed) == (4, 2)
    assert summary.errors == {"503 INTERNAL": 1, "TIMEOUT": 1}
    assert (round(summary.mean), summary.p50, summary.p99, summary.max) == (200, 200, 300, 300)


def test_a_summary_of_nothing_is_zero() -> None:
    assert Summary.of([]) == Summary(count=0, errors={}, mean=0, p50=0, p90=0, p99=0, max=0)


def test_arrivals_begin_at_their_rate() -> None:
    async def call() -> Outcome:
        return "GetPatient", OK

    record = drive(Arrivals(100, 30), call)
    assert [round(each.due * 100) for each in record.samples] == list(range(30))
    assert min(each.late for each in record.samples) >= 0
    assert record.seconds >= 0.29


def test_a_standstill_is_charged_to_all_the_calls_that_arrive_meanwhile() -> None:
    over = asyncio.Event()
    begun = 0

    async def call() -> Outcome:
        nonlocal begun
        begun += 1
        if begun == 20:
            over.set()
        await over.wait()
        return "GetPatient", OK

    record = drive(Arrivals(50, 20), call)
    last = max(each.due for each in record.samples)
    assert begun == 20
    assert all(each.took >= last - each.due for each in record.samples)


def test_calls_that_begin_late_count_from_when_they_should_have_begun() -> None:
    async def call() -> Outcome:
        time.sleep(0.05)  # noqa: ASYNC251 - what must not happen: the program itself stands still
        return "GetPatient", OK

    record = drive(Arrivals(100, 10), call)
    assert record.samples[-1].late > 0.2
    assert all(each.took >= each.late + 0.05 for each in record.samples)


def test_no_more_callers_than_said_are_under_way() -> None:
    record, most = Record(), 0

    async def call() -> Outcome:
        nonlocal most
        most = max(most, record.under_way)
        await asyncio.sleep(0.001)
        return "GetPatient", OK

    asyncio.run(InFlight(7, 100).drive(call, record))
    assert (len(record.samples), most) == (100, 7)


def test_a_change_that_a_watcher_does_not_see_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "_SECONDS", 0.2)
    door = Blind()

    async def change() -> list[Outcome]:
        clinic = Clinic(door)
        await clinic.create()
        async with Watchers(clinic, door, 3) as watching:
            return [await watching.change()]

    assert asyncio.run(change()) == [("WatchPatients", "UNSEEN by 1")]


class Blind(Door):
    """Streams each change to all watchers but one."""

    def __init__(self) -> None:
        super().__init__()
        self._change = {"id": "1", "etag": "2"}
        self._changed = asyncio.Event()
        self._streams = 0

    async def call(self, name: str, request: Json) -> Answer:
        self._changed.set()
        return Answer(OK, lambda: self._change)

    async def stream(self, name: str, request: Json) -> AsyncIterator[Json]:
        self._streams += 1
        blind = self._streams == 1
        yield {}
        await self._changed.wait()
        yield {} if blind else {"revision": {"patient": self._change}}
        await asyncio.Event().wait()
