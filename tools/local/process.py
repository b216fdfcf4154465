"""Child processes, each in a session of its own and with its output in a log."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from deploy.errors import StartError
from tools.local.logs import LogPipe

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

_LOG_LINES_SHOWN = 15
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class User:
    """An account of this machine, by its numbers."""

    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Command:
    """A program and how it is run."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """What is added to the environment. Never a secret: others can read the environment of a process."""
    folder: Path = ROOT
    user: User | None = None
    """Who runs it; None for the user of this process."""
    stop_signal: signal.Signals = signal.SIGTERM
    """What asks it to end."""


async def spawn(
    command: Command, *, output: LogPipe, errors: LogPipe, stdin: IO[str] | None = None
) -> asyncio.subprocess.Process:
    """Starts a command whose standard output and standard error go to logs, which may be one and the same.

    On Linux the child is asked to end when the calling thread does. Raises OSError if the program cannot be run.
    """
    user = command.user
    return await asyncio.create_subprocess_exec(
        *command.argv,
        stdin=stdin or asyncio.subprocess.DEVNULL,
        stdout=output.writing_end,
        stderr=errors.writing_end,
        cwd=command.folder,
        env={**_inherited(), **command.environment},
        start_new_session=True,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=() if user else None,
        preexec_fn=_ends_with_parent(command.stop_signal),
    )


async def run_to_end(name: str, command: Command, log: Path, *, stdin: IO[str] | None = None) -> None:
    """Runs a command until it ends. Raises StartError with the end of its log if it fails."""
    with LogPipe(log) as pipe:
        process = await spawn(command, output=pipe, errors=pipe, stdin=stdin)
        try:
            if code := await process.wait():
                pipe.drain()
                raise StartError(failure(name, how_it_ended(code), log))
        finally:
            if process.returncode is None:
                kill_tree(process.pid)
                await process.wait()


def kill_tree(pid: int) -> None:
    """Kills a process and its descendants, whatever sessions they are in. Does nothing if it is gone."""
    import psutil  # noqa: PLC0415 - costs 30 ms, and is rarely needed

    try:
        process = psutil.Process(pid)
        doomed = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for victim in doomed:
        if victim.is_running():
            victim.kill()


def how_it_ended(code: int) -> str:
    """Says in words what a return code means."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def failure(name: str, what: str, log: Path) -> str:
    """Returns the text that says what happened to a program, with the end of its log."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = "\n".join(f"  {line}" for line in text.splitlines()[-_LOG_LINES_SHOWN:])
    return f"{name} {what}. Its log, {log}, ends with:\n{lines or '  (nothing)'}"


def _inherited() -> dict[str, str]:
    """Returns this process's environment without what is meant for the supervisor, or would confuse Postgres."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PULSETRACK_", "PG"))}


def _ends_with_parent(stop_signal: signal.Signals) -> Callable[[], object] | None:
    """Returns what a child does before its program runs, so that it does not outlive a killed supervisor."""
    if sys.platform != "linux":
        return None
    return partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, int(stop_signal))
