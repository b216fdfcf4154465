"""Shows the processes of the running instance: `python -m tools.status`, or `make status`."""

import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import psutil
from rich.console import Console
from rich.table import Table

from deploy.errors import StartError
from deploy.settings import Settings
from tools.local.data_folder import State

_MEASURED_SECONDS = 0.5
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """The resource usage of a part with all its processes. Memory is in bytes, CPU in percent of one core."""

    rss: int = 0
    """Resident memory. Shared pages count in full."""
    pss: int = 0
    """Resident memory. Shared pages count in proportion. 0 if the system does not report it."""
    uss: int = 0
    """Memory that would be freed if the part exited."""
    cpu: float = 0

    def __add__(self, other: Self) -> "Usage":
        return Usage(self.rss + other.rss, self.pss + other.pss, self.uss + other.uss, self.cpu + other.cpu)


def main() -> int:
    """Returns the exit code. It is 1, after a one-line error, if no instance is running."""
    try:
        folder = Settings.read().data_dir
        state = State.read(folder)
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    running = (
        {name: process for name, entry in state.processes.items() if (process := entry.process())} if state else {}
    )
    if state is None or not running:
        print(f"No instance is running in the data folder {folder}.", file=sys.stderr)
        return 1
    Console(soft_wrap=True).print(_build_table(state, running))
    return 0


def _build_table(state: State, running: dict[str, psutil.Process]) -> Table:
    table = Table("part", "pid", "port", "uptime", "RSS MiB", "PSS MiB", "USS MiB", "CPU %", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    usage = _measure(running)
    ports = {**state.ports, "gateway": state.gateway_port}
    for name, process in running.items():
        entry = state.processes[name]
        mark = f"{name} *" if entry.ours else name
        table.add_row(
            mark, str(entry.pid), str(ports.get(name, "")), _format_uptime(process), *_format_usage(usage[name])
        )
    ours = [name for name, entry in state.processes.items() if entry.ours and name in usage]
    table.add_section()
    table.add_row(
        f"* PulseTrack ({len(ours)})", "", "", "", *_format_usage(sum((usage[name] for name in ours), Usage()))
    )
    table.add_row("total", "", "", "", *_format_usage(sum(usage.values(), Usage())))
    return table


def _measure(running: dict[str, psutil.Process]) -> dict[str, Usage]:
    """Measures all parts over the same interval."""
    trees = {
        name: [process, *process.children(recursive=True)] for name, process in running.items() if name != "supervisor"
    }
    if "supervisor" in running:
        trees["supervisor"] = [running["supervisor"]]
    for tree in trees.values():
        for process in tree:
            process.cpu_percent()
    time.sleep(_MEASURED_SECONDS)
    return {name: sum(map(_measure_process, tree), Usage()) for name, tree in trees.items()}


def _measure_process(process: psutil.Process) -> Usage:
    try:
        memory = process.memory_full_info()
        return Usage(memory.rss, getattr(memory, "pss", 0), memory.uss, process.cpu_percent())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return Usage()


def _format_uptime(process: psutil.Process) -> str:
    return str(timedelta(seconds=int(time.time() - process.create_time())))


def _format_usage(usage: Usage) -> list[str]:
    return [*(f"{size / _MIB:.1f}" for size in (usage.rss, usage.pss, usage.uss)), f"{usage.cpu:.1f}"]


if __name__ == "__main__":
    sys.exit(main())
