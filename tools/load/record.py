"""What became of the calls of a phase, call by call, and summed up."""

import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

OK = "OK"

Outcome = tuple[str, str]
"""The name of the method that was called, and OK or what went wrong."""

Call = Callable[[], Awaitable[Outcome]]


class Sample(NamedTuple):
    """One call. Times are in seconds."""

    method: str
    due: float
    """When it should begin, after the phase did."""
    late: float
    """How much later than that it began."""
    took: float
    """How long it took from when it should begin: what a caller waits who comes at that time."""
    status: str


class Record:
    """The calls of a phase, those that ended and those under way."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.under_way = 0
        self.seconds = 0.0
        """How long the phase took."""
        self.busy = 0.0
        """The part of that time for which this program kept a core busy."""
        self._start = time.perf_counter()
        self._cpu = time.process_time()

    async def timed(self, call: Call, due: float) -> None:
        """Makes a call that should begin at a time of time.perf_counter()."""
        begun = time.perf_counter()
        self.under_way += 1
        try:
            method, status = await call()
        finally:
            self.under_way -= 1
        self.add(method, status, due=due, begun=begun)

    def add(self, method: str, status: str, *, due: float, begun: float | None = None) -> None:
        """Adds a call that ends now."""
        self.samples.append(
            Sample(method, due - self._start, (begun or due) - due, time.perf_counter() - due, status),
        )

    def close(self) -> None:
        """Notes that the phase is over."""
        self.seconds = time.perf_counter() - self._start
        self.busy = (time.process_time() - self._cpu) / self.seconds


@dataclass(frozen=True)
class Summary:
    """Calls summed up, those that failed too. Times are in milliseconds, from when each call should begin."""

    count: int
    errors: dict[str, int]
    """How many calls failed, by what went wrong."""
    mean: float
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Summary":
        """Sums up the samples."""
        took = sorted(sample.took * 1000 for sample in samples)
        return cls(
            count=len(samples),
            errors=dict(Counter(sample.status for sample in samples if sample.status != OK).most_common()),
            mean=sum(took) / len(took) if took else 0,
            p50=percentile(took, 50),
            p90=percentile(took, 90),
            p99=percentile(took, 99),
            max=took[-1] if took else 0,
        )

    @property
    def failed(self) -> int:
        """How many calls failed."""
        return sum(self.errors.values())


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Returns the least value that so many percent of all do not exceed; 0 of none."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0
