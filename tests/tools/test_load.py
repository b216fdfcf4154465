"""`make load`: pacing of calls, latency measurement and error counts."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tools.load import workload
from tools.load.clients import Client, Json, Response
from tools.load.measurement import OK, Arrivals, InFlight, Outcome, Pace, Record, Sample, Summary, percentile
from tools.load.workload import Clinic, Watchers


def run(pace: Pace, call: Callable[[], Awaitable[Outcome]]) -> Record:
    record = Record()
    asyncio.run(pace.run(call, record))
    record.close()
    return record


def sample(latency: float, status: str = OK) -> Sample:
    return Sample("GetPatient", 0, 0, latency, status)


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (99.5, 100), (100, 100), (0, 1)])
def test_percentile_is_a_measured_value(percent: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 101)], percent) == value


def test_summary_includes_failed_calls() -> None:
    summary = Summary.of([sample(0.1), sample(0.3), sample(0.2, "503 INTERNAL"), sample(0.2, "TIMEOUT")])
    assert (summary.count, summary.failed) == (4, 2)
    assert summary.errors == {"503 INTERNAL": 1, "TIMEOUT": 1}
    assert (round(summary.mean), summary.p50, summary.p99, summary.max) == (200, 200, 300, 300)


def test_summary_without_samples_is_zero() -> None:
    assert Summary.of([]) == Summary(count=0, errors={}, mean=0, p50=0, p90=0, p99=0, max=0)


def test_arrivals_are_sent_at_their_rate() -> None:
    async def call() -> Outcome:
        return "GetPatient", OK

    record = run(Arrivals(100, 30), call)
    first = record.samples[0].scheduled
    assert [round((each.scheduled - first) * 100) for each in record.samples] == list(range(30))
    assert min(each.delay for each in record.samples) >= 0
    assert record.seconds >= 0.29


def test_stall_is_included_in_the_latency_of_all_calls_due_during_it() -> None:
    resumed = asyncio.Event()
    sent = 0

    async def call() -> Outcome:
        nonlocal sent
        sent += 1
        if sent == 20:
            resumed.set()
        await resumed.wait()
        return "GetPatient", OK

    record = run(Arrivals(50, 20), call)
    last = max(each.scheduled for each in record.samples)
    assert sent == 20
    assert all(each.latency >= last - each.scheduled for each in record.samples)


def test_latency_is_measured_from_the_scheduled_send_time() -> None:
    async def call() -> Outcome:
        time.sleep(0.05)  # noqa: ASYNC251 - blocks the event loop on purpose
        return "GetPatient", OK

    record = run(Arrivals(100, 10), call)
    assert record.samples[-1].delay > 0.2
    assert all(each.latency >= each.delay + 0.05 for each in record.samples)


def test_closed_loop_limits_calls_in_flight() -> None:
    record, maximum = Record(), 0

    async def call() -> Outcome:
        nonlocal maximum
        maximum = max(maximum, record.in_flight)
        await asyncio.sleep(0.001)
        return "GetPatient", OK

    asyncio.run(InFlight(7, 100).run(call, record))
    assert (len(record.samples), maximum) == (100, 7)


def test_change_missed_by_a_watcher_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "_WATCH_SECONDS", 0.2)
    client = LossyClient()

    async def update() -> list[Outcome]:
        clinic = Clinic(client)
        await clinic.create_patient()
        async with Watchers(clinic, client, 3) as watchers:
            return [await watchers.update_patient()]

    assert asyncio.run(update()) == [("WatchPatients", "UNSEEN by 1")]


class LossyClient(Client):
    """Streams each change to all watchers except the first."""

    def __init__(self) -> None:
        super().__init__()
        self._change = {"id": "1", "etag": "2"}
        self._changed = asyncio.Event()
        self._streams = 0

    async def call(self, name: str, request: Json) -> Response:
        self._changed.set()
        return Response(OK, lambda: self._change)

    async def stream(self, name: str, request: Json) -> AsyncIterator[Json]:
        self._streams += 1
        is_first = self._streams == 1
        yield {}
        await self._changed.wait()
        yield {} if is_first else {"revision": {"patient": self._change}}
        await asyncio.Event().wait()
