"""The results of a run: summaries per phase and method, gates, warnings, and JSON output."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tools.load.measurement import Record, Summary, percentile
from tools.load.options import Options
from tools.load.phases import Phase

STATISTICS = ("mean", "p50", "p90", "p99", "max")
"""Latency statistics of a Summary that are reported."""
RATE_LIMITS_WARNING = (
    "The gateway enforces rate limits. To disable them, start it with `PULSETRACK_RATE_LIMITS=off make up`."
)

_DELAY_MS = 50
_BUSY = 0.9


@dataclass(frozen=True)
class Result:
    """A phase and its recorded calls."""

    phase: Phase
    record: Record

    @property
    def summary(self) -> Summary:
        """Summary of all calls."""
        return Summary.of(self.record.samples)

    @property
    def delay_ms(self) -> float:
        """99th percentile of the delays between scheduled and actual send times, in milliseconds."""
        return percentile(sorted(sample.delay * 1000 for sample in self.record.samples), 99)

    def summaries(self) -> Iterator[tuple[str, Summary]]:
        """Yields the name and the summary of each method."""
        samples = self.record.samples
        for method in dict.fromkeys(sample.method for sample in samples):
            yield method, Summary.of([sample for sample in samples if sample.method == method])


def as_json(results: Sequence[Result], options: Options) -> dict[str, Any]:
    """Returns the results, warnings and failed gates as JSON."""
    return {
        "url": options.url,
        "protocol": options.protocol,
        "phases": [_phase_json(result) for result in results],
        "warnings": list(warnings(results)),
        "failures": list(failures(results, options)),
    }


def failures(results: Sequence[Result], options: Options) -> Iterator[str]:
    """Yields a message for each gate that a phase fails."""
    for result in results:
        summary = result.summary
        measured = {"errors": summary.failed, "mean ms": summary.mean, "p99 ms": summary.p99}
        gates = {"errors": options.max_errors, "mean ms": options.max_mean_ms, "p99 ms": options.max_p99_ms}
        for name, maximum in gates.items():
            if measured[name] > maximum:
                yield f"{result.phase.name}: {round(measured[name], 1):g} {name}, at most {maximum:g} allowed"


def warnings(results: Sequence[Result]) -> Iterator[str]:
    """Yields a message for each condition, other than the gateway, that affects the results."""
    for result in results:
        name, delay, busy = result.phase.name, result.delay_ms, result.record.busy
        if busy > _BUSY:
            yield f"{name}: the load generator was the bottleneck ({busy:.0%} of a core). Lower the rate."
        elif delay > _DELAY_MS:
            yield (
                f"{name}: the load generator was short of CPU. 1% of the calls were sent over {delay:.0f} ms late, "
                "which increases the latencies. Run it on another machine, or lower the rate."
            )
    if any("RATE_LIMITED" in sample.status for result in results for sample in result.record.samples):
        yield RATE_LIMITS_WARNING


def _phase_json(result: Result) -> dict[str, Any]:
    return {
        "phase": result.phase.name,
        "pace": str(result.phase.pace),
        "seconds": round(result.record.seconds, 3),
        "late_p99_ms": round(result.delay_ms, 3),
        "busy": round(result.record.busy, 3),
        **_summary_json(result.summary),
        "methods": {name: _summary_json(summary) for name, summary in result.summaries()},
    }


def _summary_json(summary: Summary) -> dict[str, Any]:
    values = dataclasses.asdict(summary)
    return {
        "count": summary.count,
        "errors": summary.errors,
        **{f"{name}_ms": round(values[name], 3) for name in STATISTICS},
    }
