"""Parts that take milliseconds, and what they did."""

import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psutil

from tools.local.console import Progress
from tools.local.part import Part, Step
from tools.local.process import Command
from tools.local.supervisor import Supervisor

_NEVER_ENDS = "import time; time.sleep(600)"
_DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_NEVER_ENDS}"
_WITH_CHILD = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {_DEAF!r}], start_new_session=True); {_DEAF}"
)


class Journal(Progress):
    """What the user would see."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def order(self) -> list[str]:
        """The parts in the order in which they were up."""
        return list(self.seconds)


def part(name: str, *needs: str, code: str = _NEVER_ENDS, stop_seconds: float = 2) -> Part:
    """A server that is ready as soon as it runs."""

    async def ready() -> bool:
        return True

    command = Command(argv=(sys.executable, "-S", "-c", code))
    return Part(name=name, command=command, ready=ready, needs=needs, stop_seconds=stop_seconds)


def noting_part(name: str, *needs: str, ends: Path) -> Part:
    """A server that writes its name when it is asked to end."""
    up = ends.with_name(f"{name}.up")
    end = f"lambda *_: (pathlib.Path({str(ends)!r}).open('a').write('{name}\\n'), sys.exit())"
    hears = f"import pathlib, signal, sys; signal.signal(signal.SIGTERM, {end}); pathlib.Path({str(up)!r}).touch()"

    async def ready() -> bool:
        return up.exists()

    command = part(name, code=f"{hears}; {_NEVER_ENDS}").command
    return Part(name=name, command=command, ready=ready, needs=needs)


def deaf_part(name: str, *, stop_seconds: float = 0.2) -> Part:
    """A server that does not hear SIGTERM and has a child, in a session of its own, that doesn't either."""
    return part(name, code=_WITH_CHILD, stop_seconds=stop_seconds)


def freezable_part(name: str, started: "Started") -> Part:
    """A server that answers unless it is stopped by SIGSTOP. `started` knows its process."""

    async def answers() -> bool:
        return started.last(name).status() != psutil.STATUS_STOPPED

    return Part(name=name, command=part(name).command, ready=part(name).ready, alive=answers)


def step(name: str, *needs: str, run: Callable[[], Awaitable[None]]) -> Step:
    return Step(name=name, run=run, needs=needs)


class Started:
    """The processes that were started, by part."""

    def __init__(self) -> None:
        self.processes: dict[str, list[psutil.Process]] = {}

    def __call__(self, part: Part, pid: int) -> None:
        self.processes.setdefault(part.name, []).append(psutil.Process(pid))

    def last(self, name: str) -> psutil.Process:
        return self.processes[name][-1]

    def kill(self, name: str) -> None:
        self.last(name).send_signal(signal.SIGKILL)

    def alive(self) -> list[str]:
        return [name for name, all_of_it in self.processes.items() if any(map(is_alive, all_of_it))]


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ends(process: psutil.Process) -> bool:
    """Waits until a process has ended, and tells whether it has after 5 s."""
    limit = time.monotonic() + 5
    while is_alive(process) and time.monotonic() < limit:
        time.sleep(0.02)
    return not is_alive(process)


def supervisor(
    nodes: Sequence[Part | Step], logs: Path, started: Started | None = None
) -> tuple[Supervisor, Journal, Started]:
    journal, started = Journal(), started or Started()
    return Supervisor(nodes, logs, journal, started), journal, started
