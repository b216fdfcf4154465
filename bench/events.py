"""Event latency: the time from a change to its analytics row."""

import time
from dataclasses import dataclass
from uuid import uuid4

from bench.cases import Variant, build_patient
from bench.errors import BenchError
from tools.load.measurement import OK, Arrivals, Outcome, Record, Summary, percentile


@dataclass(frozen=True)
class EventLatency:
    """Milliseconds from the time of a change to the receive time of its analytics row."""

    variant: str
    per_second: float
    """The rate at which creates were sent."""
    p50_ms: float
    p99_ms: float
    rejected: float
    """The fraction of creates that failed, because the system limits the number of concurrent calls."""


async def measure_event_latency(variant: Variant, per_second: float, seconds: float) -> EventLatency:
    """Sends creates at a rate, and reads the latencies of their events. Raises BenchError if all creates fail."""

    async def create() -> Outcome:
        try:
            await variant.api.create(build_patient(), str(uuid4()))
        except BenchError as error:
            return "", str(error)
        return "", OK

    since, record = time.time(), Record()
    await Arrivals.during(seconds, per_second).run(create, record)
    record.close()
    summary = Summary.of(record.samples)
    if summary.failed == summary.count:
        raise BenchError(f"All creates failed, such as: {next(iter(summary.errors))}")
    await variant.system.settle()
    latencies = sorted(await variant.system.read_event_latencies(since))
    p50, p99 = percentile(latencies, 50), percentile(latencies, 99)
    return EventLatency(variant.name, per_second, p50, p99, summary.failed / summary.count)
