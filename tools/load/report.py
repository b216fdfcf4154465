"""What came out: a table, the same as JSON, and what it is judged by."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tools.load.options import Options
from tools.load.phases import Result
from tools.load.record import Summary, percentile

_LATE_MS = 50
_BUSY = 0.9

_COLUMNS = ("mean", "p50", "p90", "p99", "max")


def show(results: Sequence[Result], console: Console) -> None:
    """Prints a row for each phase and, if there are several, for each of its methods; then what failed."""
    table = Table("phase", "calls", "count", "per s", "errors", *_COLUMNS, "late", "busy", box=SIMPLE_HEAD)
    for place, column in enumerate(table.columns):
        column.no_wrap = True
        column.justify = "left" if place < 2 else "right"  # noqa: PLR2004 - words, then numbers
    for result in results:
        _add_rows(table, result)
    console.print(table)
    console.print("Times are in ms, from when each call should begin. Late: when 1% began later. Busy: this program.")
    for result in results:
        for status, number in Summary.of(result.record.samples).errors.items():
            console.print(f"{result.phase.name}: {number} failed with {status}", markup=False, highlight=False)


def as_json(results: Sequence[Result], options: Options) -> dict[str, Any]:
    """Returns all that the table says, and the gates."""
    return {
        "url": options.url,
        "door": options.door,
        "phases": [_phase_json(result) for result in results],
        "warnings": list(warnings(results)),
        "failures": list(failures(results, options)),
    }


def failures(results: Sequence[Result], options: Options) -> Iterator[str]:
    """Yields a sentence for each gate that a phase does not pass."""
    for result in results:
        summary = Summary.of(result.record.samples)
        found = {"errors": summary.failed, "mean ms": summary.mean, "p99 ms": summary.p99}
        gates = {"errors": options.max_errors, "mean ms": options.max_mean_ms, "p99 ms": options.max_p99_ms}
        for name, most in gates.items():
            if found[name] > most:
                yield f"{result.phase.name}: {round(found[name], 1):g} {name}, at most {most:g} allowed"


def warnings(results: Sequence[Result]) -> Iterator[str]:
    """Yields a sentence for each thing for which the numbers are not the gateway's alone."""
    for result in results:
        name, late, busy = result.phase.name, late_ms(result), result.record.busy
        if busy > _BUSY:
            yield f"{name}: this program was the bottleneck, busy for {busy:.0%} of the time: lower the rate."
        elif late > _LATE_MS:
            yield (
                f"{name}: this program got too little of the machine: 1% of the calls began over {late:.0f} ms late, "
                "which is in the times shown. Run it on another machine, or lower the rate."
            )
    if any("RATE_LIMITED" in sample.status for result in results for sample in result.record.samples):
        yield LIMITED


LIMITED = "The gateway limits how often an address may call: start it by `PULSETRACK_RATE_LIMITS=off make up` for this."


def late_ms(result: Result) -> float:
    """Returns how late calls began, in milliseconds: 99 percent of them not later."""
    return percentile(sorted(sample.late * 1000 for sample in result.record.samples), 99)


def _add_rows(table: Table, result: Result) -> None:
    record, whole = result.record, Summary.of(result.record.samples)
    methods = list(result.summaries())
    own = f"{late_ms(result):.0f}", f"{record.busy:.0%}"
    table.add_row(result.phase.name, str(result.phase.pace), *_cells(whole, record.seconds), *own)
    if len(methods) > 1:
        for name, summary in methods:
            table.add_row("", name, *_cells(summary, record.seconds))
    table.add_section()


def _cells(summary: Summary, seconds: float) -> list[str]:
    times = (f"{getattr(summary, name):.1f}" for name in _COLUMNS)
    return [str(summary.count), f"{summary.count / seconds:.1f}", str(summary.failed), *times]


def _phase_json(result: Result) -> dict[str, Any]:
    return {
        "phase": result.phase.name,
        "pace": str(result.phase.pace),
        "seconds": round(result.record.seconds, 3),
        "late_p99_ms": round(late_ms(result), 3),
        "busy": round(result.record.busy, 3),
        **_summary_json(Summary.of(result.record.samples)),
        "methods": {name: _summary_json(summary) for name, summary in result.summaries()},
    }


def _summary_json(summary: Summary) -> dict[str, Any]:
    values = dataclasses.asdict(summary)
    return {
        "count": summary.count,
        "errors": summary.errors,
        **{f"{name}_ms": round(values[name], 3) for name in _COLUMNS},
    }
