"""Console output of a run: progress of each phase, and the table of results."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from tools.load.measurement import Record, Summary
from tools.load.phases import Phase
from tools.load.results import STATISTICS, Result

_REFRESH_SECONDS = 0.25
_RECENT = 500


class PhaseProgress:
    """Shows the progress of a phase: a bar on a terminal, otherwise one line when the phase ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} calls  {task.fields[status]}"),
            console=console,
            auto_refresh=False,
            disable=not console.is_terminal,
        )

    @asynccontextmanager
    async def show(self, phase: Phase, record: Record) -> AsyncIterator[None]:
        """Shows the progress of a phase until exit."""
        bar = self._bars.add_task(phase.name, total=phase.pace.count, status="")
        self._bars.start()
        start = time.perf_counter()
        refresh = asyncio.create_task(self._refresh(bar, record, start))
        try:
            yield
        finally:
            refresh.cancel()
            self._update(bar, record, start)
            self._bars.stop()
            self._bars.remove_task(bar)
            if not self._console.is_terminal:
                self._console.print(f"{phase.name:<16} {len(record.samples)} calls  {_status(record, start)}")

    async def _refresh(self, bar: TaskID, record: Record, start: float) -> None:
        while True:
            self._update(bar, record, start)
            await asyncio.sleep(_REFRESH_SECONDS)

    def _update(self, bar: TaskID, record: Record, start: float) -> None:
        self._bars.update(bar, completed=len(record.samples), status=_status(record, start), refresh=True)


def print_results(results: Sequence[Result], console: Console) -> None:
    """Prints a row for each phase and, if it has several, for each of its methods. Prints the errors after that."""
    table = Table("phase", "calls", "count", "per s", "errors", *STATISTICS, "late", "busy", box=SIMPLE_HEAD)
    for index, column in enumerate(table.columns):
        column.no_wrap = True
        column.justify = "left" if index < 2 else "right"  # noqa: PLR2004 - text columns precede numbers
    for result in results:
        _add_rows(table, result)
    console.print(table)
    console.print("Latencies are in ms from the scheduled send time. Late: p99 of send delays. Busy: CPU of this tool.")
    for result in results:
        for status, number in result.summary.errors.items():
            console.print(f"{result.phase.name}: {number} failed with {status}", markup=False, highlight=False)


def _status(record: Record, start: float) -> str:
    recent = Summary.of(record.samples[-_RECENT:])
    rate = len(record.samples) / (time.perf_counter() - start)
    failed = f"  {recent.failed} of the last {recent.count} failed" if recent.failed else ""
    return f"{rate:.0f}/s  {record.in_flight} in flight  p50 {recent.p50:.0f} ms  p99 {recent.p99:.0f} ms{failed}"


def _add_rows(table: Table, result: Result) -> None:
    record = result.record
    methods = list(result.summaries())
    generator = f"{result.delay_ms:.0f}", f"{record.busy:.0%}"
    table.add_row(result.phase.name, str(result.phase.pace), *_cells(result.summary, record.seconds), *generator)
    if len(methods) > 1:
        for name, summary in methods:
            table.add_row("", name, *_cells(summary, record.seconds))
    table.add_section()


def _cells(summary: Summary, seconds: float) -> list[str]:
    latencies = (f"{getattr(summary, name):.1f}" for name in STATISTICS)
    return [str(summary.count), f"{summary.count / seconds:.1f}", str(summary.failed), *latencies]
