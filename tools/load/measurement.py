"""Pacing of calls, and their measured latencies."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

OK = "OK"

Outcome = tuple[str, str]
"""The name of the called method, and OK or an error."""

Call = Callable[[], Awaitable[Outcome]]


class Sample(NamedTuple):
    """One call. Times are in seconds."""

    method: str
    scheduled: float
    """Scheduled send time, relative to the start of the phase."""
    delay: float
    """Time from the scheduled to the actual send time."""
    latency: float
    """Time from the scheduled send time to the response."""
    status: str


class Record:
    """The calls of a phase: samples of completed calls, and the number in flight."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.in_flight = 0
        self.seconds = 0.0
        """Duration of the phase."""
        self.busy = 0.0
        """CPU time of the load generator as a fraction of the phase's duration on one core."""
        self._start = time.perf_counter()
        self._cpu = time.process_time()

    async def measure(self, call: Call, scheduled: float) -> None:
        """Makes a call and records it. `scheduled` is a time of time.perf_counter()."""
        sent = time.perf_counter()
        self.in_flight += 1
        try:
            method, status = await call()
        finally:
            self.in_flight -= 1
        latency = time.perf_counter() - scheduled
        self.samples.append(Sample(method, scheduled - self._start, sent - scheduled, latency, status))

    def close(self) -> None:
        """Ends the phase."""
        self.seconds = time.perf_counter() - self._start
        self.busy = (time.process_time() - self._cpu) / self.seconds


@dataclass(frozen=True)
class Summary:
    """Aggregate of calls, including failed ones. Latencies are in milliseconds from the scheduled send time."""

    count: int
    errors: dict[str, int]
    """Number of failed calls by error."""
    mean: float
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Summary":
        """Returns the summary of the samples."""
        latencies = sorted(sample.latency * 1000 for sample in samples)
        return cls(
            count=len(samples),
            errors=dict(Counter(sample.status for sample in samples if sample.status != OK).most_common()),
            mean=sum(latencies) / len(latencies) if latencies else 0,
            p50=percentile(latencies, 50),
            p90=percentile(latencies, 90),
            p99=percentile(latencies, 99),
            max=latencies[-1] if latencies else 0,
        )

    @property
    def failed(self) -> int:
        """Number of failed calls."""
        return sum(self.errors.values())


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Returns the nearest-rank percentile of ordered values, or 0 if there are none."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0


class Pace(Protocol):
    """Schedules the calls of a phase."""

    @property
    def count(self) -> int:
        """Number of calls."""

    async def run(self, call: Call, record: Record) -> None:
        """Makes all calls and returns after the last response."""


@dataclass(frozen=True)
class Arrivals:
    """An open loop: calls are sent at a fixed rate regardless of response times.

    Latency is measured from the scheduled send time, so a stall of the gateway affects all calls due during it.
    """

    per_second: float
    count: int

    @classmethod
    def during(cls, seconds: float, per_second: float) -> Self:
        """Returns the arrivals during a number of seconds, at least one."""
        return cls(per_second, max(1, round(per_second * seconds)))

    def __str__(self) -> str:
        return f"{self.per_second:g}/s"

    async def run(self, call: Call, record: Record) -> None:
        """Makes all calls and returns after the last response."""
        start = time.perf_counter()
        async with asyncio.TaskGroup() as calls:
            for number in range(self.count):
                scheduled = start + number / self.per_second
                await asyncio.sleep(max(0, scheduled - time.perf_counter()))
                calls.create_task(record.measure(call, scheduled))


@dataclass(frozen=True)
class InFlight:
    """A closed loop: each of several callers sends its next call after the previous response."""

    callers: int
    count: int

    def __str__(self) -> str:
        return f"{self.callers} in flight"

    async def run(self, call: Call, record: Record) -> None:
        """Makes all calls and returns after the last response."""
        numbers = iter(range(self.count))

        async def send_calls() -> None:
            for _ in numbers:
                await record.measure(call, time.perf_counter())

        async with asyncio.TaskGroup() as callers:
            for _ in range(self.callers):
                callers.create_task(send_calls())
