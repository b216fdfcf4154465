"""Metrics of the service process: CPU time, memory and open files (ADR 39)."""

import os
from pathlib import Path

from opentelemetry import metrics

_PROC = Path("/proc/self")

_meter = metrics.get_meter("pulsetrack")
_cpu = _meter.create_counter("process.cpu.time", unit="s", description="CPU time, by mode.")
_memory = _meter.create_gauge("process.memory.usage", unit="By", description="Resident memory.")
_files = _meter.create_gauge(
    "process.unix.file_descriptor.count", unit="{file_descriptor}", description="Open file descriptors."
)


class ProcessMetrics:
    """The metrics of the current process. Memory and open files are measured on Linux only."""

    def __init__(self) -> None:
        self._user = self._system = 0.0

    async def measure(self) -> None:
        """Sets the gauges, and adds the CPU time since the previous call to the counter."""
        times = os.times()
        _cpu.add(times.user - self._user, {"cpu.mode": "user"})
        _cpu.add(times.system - self._system, {"cpu.mode": "system"})
        self._user, self._system = times.user, times.system
        _measure_memory_and_files()


def _measure_memory_and_files() -> None:
    if _PROC.exists():
        pages = int((_PROC / "statm").read_text(encoding="ascii").split()[1])
        _memory.set(pages * os.sysconf("SC_PAGE_SIZE"))
        _files.set(sum(1 for _ in (_PROC / "fd").iterdir()))
