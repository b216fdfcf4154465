"""What the service's process takes of its machine."""

import os
from pathlib import Path

from opentelemetry import metrics

_ITSELF = Path("/proc/self")

_meter = metrics.get_meter("pulsetrack")
_cpu = _meter.create_counter("process.cpu.time", unit="s", description="CPU time, by mode.")
_memory = _meter.create_gauge("process.memory.usage", unit="By", description="Resident memory.")
_files = _meter.create_gauge(
    "process.unix.file_descriptor.count", unit="{file_descriptor}", description="Open file descriptors."
)


class Process:
    """The running process, as the operating system sees it. Memory and open files are known on Linux only."""

    def __init__(self) -> None:
        self._user = self._system = 0.0

    async def measure(self) -> None:
        """Sets the gauges, and adds the CPU time since the last time."""
        times = os.times()
        _cpu.add(times.user - self._user, {"cpu.mode": "user"})
        _cpu.add(times.system - self._system, {"cpu.mode": "system"})
        self._user, self._system = times.user, times.system
        _look_into_proc()


def _look_into_proc() -> None:
    if _ITSELF.exists():
        pages = int((_ITSELF / "statm").read_text(encoding="ascii").split()[1])
        _memory.set(pages * os.sysconf("SC_PAGE_SIZE"))
        _files.set(sum(1 for _ in (_ITSELF / "fd").iterdir()))
