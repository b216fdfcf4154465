"""Measurements of one case over one variant: CPU time by part, latency and throughput."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from bench.cases import Case, Variant
from bench.errors import BenchError
from bench.system import UNCOUNTED
from tools.load.measurement import OK, InFlight, Outcome, Record, Summary

CALLERS = 16
"""The number of calls in flight."""

FLOOR = "empty grpc.aio call"

_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Measurement:
    """The measured calls of one case over one variant in one round."""

    case: str
    variant: str
    round: int
    calls: int
    cpu_us: Mapping[str, float]
    """CPU time per call by part, in microseconds."""
    p50_ms: float
    p99_ms: float
    per_second: float

    @property
    def total_us(self) -> float:
        """CPU time per call of all parts that are counted, in microseconds."""
        return sum(value for part, value in self.cpu_us.items() if part != UNCOUNTED)


async def measure_case(case: Case, variant: Variant, calls: int, number: int) -> Measurement:
    """Measures a case in the round with a number, after a tenth of the calls as warm-up. Raises BenchError."""

    async def settle() -> None:
        if case.is_change:
            await variant.system.settle()

    return await measure_calls(
        lambda each: case.call(variant, each),
        variant.system.read_cpu_seconds,
        settle,
        calls=calls,
        labels=(case.name, variant.name, number),
    )


async def measure_calls(
    call: Callable[[int], Awaitable[object]],
    read_cpu_seconds: Callable[[], Mapping[str, float]],
    settle: Callable[[], Awaitable[None]],
    *,
    calls: int,
    labels: tuple[str, str, int],
) -> Measurement:
    """Measures calls, and the CPU time until the work that they caused is done. Raises BenchError."""
    case, variant, number = labels
    await _run(call, max(calls // 10, CALLERS))
    await settle()
    before = read_cpu_seconds()
    record = await _run(call, calls)
    await settle()
    after = read_cpu_seconds()
    summary = Summary.of(record.samples)
    return Measurement(
        case=case,
        variant=variant,
        round=number,
        calls=calls,
        cpu_us={part: (after[part] - before[part]) / calls * _MICROSECONDS for part in after},
        p50_ms=summary.p50,
        p99_ms=summary.p99,
        per_second=calls / record.seconds,
    )


async def _run(call: Callable[[int], Awaitable[object]], calls: int) -> Record:
    """Makes the calls with numbers that differ between runs. Raises BenchError if one fails."""
    first = time.monotonic_ns() // 1000
    numbers = iter(range(first, first + calls))

    async def make_call() -> Outcome:
        try:
            await call(next(numbers))
        except BenchError as error:
            return "", str(error)
        return "", OK

    record = Record()
    await InFlight(CALLERS, calls).run(make_call, record)
    record.close()
    if errors := Summary.of(record.samples).errors:
        raise BenchError(f"{sum(errors.values())} of {calls} calls failed, such as: {next(iter(errors))}")
    return record
