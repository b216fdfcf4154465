"""Fake parts that start in milliseconds, and records of their activity."""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tools.local.console import Console
from tools.local.part import Part, Step
from tools.local.process import Command
from tools.local.supervisor import Supervisor

_NEVER_ENDS = "import time; time.sleep(600)"
_STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_NEVER_ENDS}"
_START_CHILD = f"subprocess.Popen([sys.executable, '-c', {_STUBBORN!r}], start_new_session=True)"
_WITH_CHILD = f"import subprocess, sys; {_START_CHILD}; {_STUBBORN}"


class RecordingConsole(Console):
    """Records the console output."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def print(self, text: str) -> None:
        self.lines.append(text)

    def order(self) -> list[str]:
        """Returns the parts in the order in which they became ready."""
        return list(self.start_seconds)


def part(name: str, *needs: str, code: str = _NEVER_ENDS, stop_seconds: float = 2) -> Part:
    """Returns a server that is ready as soon as it is running."""

    async def ready() -> bool:
        return True

    command = Command(argv=(sys.executable, "-S", "-c", code))
    return Part(name=name, command=command, ready=ready, needs=needs, stop_seconds=stop_seconds)


def recording_part(name: str, *needs: str, ends: Path) -> Part:
    """Returns a server that appends its name to a file when it is stopped."""
    up = ends.with_name(f"{name}.up")
    end = f"lambda *_: (pathlib.Path({str(ends)!r}).open('a').write('{name}\\n'), sys.exit())"
    handler = f"import pathlib, signal, sys; signal.signal(signal.SIGTERM, {end}); pathlib.Path({str(up)!r}).touch()"

    async def ready() -> bool:
        return up.exists()

    command = part(name, code=f"{handler}; {_NEVER_ENDS}").command
    return Part(name=name, command=command, ready=ready, needs=needs)


def preloaded_part(name: str, *needs: str, folder: Path, after: tuple[str, ...] = ()) -> Part:
    """Returns a server that creates the file `loaded` when it is loaded, and `serving` when it may serve."""
    loaded, serving = folder / "loaded", folder / "serving"

    async def ready() -> bool:
        return serving.exists()

    serve = f"sys.stdin.readline() and (pathlib.Path({str(serving)!r}).touch(), time.sleep(600))"
    code = f"import pathlib, sys, time; pathlib.Path({str(loaded)!r}).touch(); {serve}"
    return Part(name=name, command=part(name, code=code).command, ready=ready, needs=needs, preloads_after=after)


def stubborn_part(name: str, *, stop_seconds: float = 0.2) -> Part:
    """Returns a server that ignores SIGTERM, with a child in another session that also ignores it."""
    return part(name, code=_WITH_CHILD, stop_seconds=stop_seconds)


def freezable_part(name: str, started: "Started") -> Part:
    """Returns a server that responds unless SIGSTOP has frozen it. `started` records its process."""

    async def is_responsive() -> bool:
        return started.last(name).status() != psutil.STATUS_STOPPED

    return Part(name=name, command=part(name).command, ready=part(name).ready, alive=is_responsive)


def step(name: str, *needs: str, run: Callable[[], Awaitable[None]]) -> Step:
    return Step(name=name, run=run, needs=needs)


class Started:
    """Records the started processes by part."""

    def __init__(self) -> None:
        self.processes: dict[str, list[psutil.Process]] = {}

    def __call__(self, part: Part, pid: int) -> None:
        with suppress(psutil.NoSuchProcess):  # has exited already
            self.processes.setdefault(part.name, []).append(psutil.Process(pid))

    def last(self, name: str) -> psutil.Process:
        return self.processes[name][-1]

    def kill(self, name: str) -> None:
        self.last(name).send_signal(signal.SIGKILL)

    def alive(self) -> list[str]:
        """Returns the parts that have a running process."""
        return [name for name, processes in self.processes.items() if any(map(is_alive, processes))]


def is_alive(process: psutil.Process) -> bool:
    """Returns whether a process is running. A zombie is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_ended(process: psutil.Process) -> bool:
    """Waits up to 5 s until a process has ended, and returns whether it has."""
    limit = time.monotonic() + 5
    while is_alive(process) and time.monotonic() < limit:
        time.sleep(0.02)
    return not is_alive(process)


def build_supervisor(
    nodes: Sequence[Part | Step], logs: Path, started: Started | None = None
) -> tuple[Supervisor, RecordingConsole, Started]:
    console, started = RecordingConsole(), started or Started()
    return Supervisor(nodes, logs, console, started), console, started


Scenario = Callable[[Supervisor, RecordingConsole, Started], Awaitable[None]]


def run(
    nodes: Sequence[Part | Step], logs: Path, scenario: Scenario, started: Started | None = None
) -> tuple[RecordingConsole, Started]:
    """Runs the nodes, runs the scenario once they are up, and stops them."""
    supervised, console, started = build_supervisor(nodes, logs, started)

    async def main() -> None:
        stop, up = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(supervised.run(stop, up.set))
        waiting = asyncio.create_task(up.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if up.is_set():
            await scenario(supervised, console, started)
        stop.set()
        await running

    asyncio.run(main())
    return console, started


async def nothing(*_: object) -> None:
    """A scenario in which nothing happens."""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - processes set no events
            await asyncio.sleep(0.02)
