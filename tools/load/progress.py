"""What the user sees while calls are made: a line for each phase, that moves on a terminal."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from tools.load.phases import Phase
from tools.load.record import Record, Summary

_REFRESH_SECONDS = 0.25
_RECENT = 500


class Shown:
    """Shows phases on a console. Where that is no terminal, each has one line, once it is over."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} calls  {task.fields[now]}"),
            console=console,
            auto_refresh=False,
            disable=not console.is_terminal,
        )

    @asynccontextmanager
    async def during(self, phase: Phase, record: Record) -> AsyncIterator[None]:
        """Shows a phase from its begin to its end."""
        bar = self._bars.add_task(phase.name, total=phase.pace.count, now="")
        self._bars.start()
        begun = time.perf_counter()
        refreshing = asyncio.create_task(self._refresh(bar, record, begun))
        try:
            yield
        finally:
            refreshing.cancel()
            self._update(bar, record, begun)
            self._bars.stop()
            self._bars.remove_task(bar)
            if not self._console.is_terminal:
                self._console.print(f"{phase.name:<16} {len(record.samples)} calls  {_now(record, begun)}")

    async def _refresh(self, bar: TaskID, record: Record, begun: float) -> None:
        while True:
            self._update(bar, record, begun)
            await asyncio.sleep(_REFRESH_SECONDS)

    def _update(self, bar: TaskID, record: Record, begun: float) -> None:
        self._bars.update(bar, completed=len(record.samples), now=_now(record, begun), refresh=True)


def _now(record: Record, begun: float) -> str:
    recent = Summary.of(record.samples[-_RECENT:])
    rate = len(record.samples) / (time.perf_counter() - begun)
    failed = f"  {recent.failed} of the last {recent.count} failed" if recent.failed else ""
    return f"{rate:.0f}/s  {record.under_way} under way  p50 {recent.p50:.0f} ms  p99 {recent.p99:.0f} ms{failed}"
