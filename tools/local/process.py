"""Child processes, each in its own session, and their log files, which are rotated while the processes write."""

import asyncio
import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Self

from deploy.errors import StartError

MAX_BYTES = 10_000_000
MAX_FILES = 5
"""The maximum number of files per log. The oldest is deleted."""

_PIPE_BYTES = 1024 * 1024


class RotatingFile:
    """A log file that is renamed to NAME.log.1 when it is full. If the disk is full, output is dropped and counted."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._file: IO[bytes] | None = None
        self._dropped = 0

    def write(self, data: bytes) -> None:
        """Appends output. A rotation does not split lines."""
        try:
            if self._file is None:
                self._file = self._path.open("ab", buffering=0)
            if self._dropped:
                self._file.write(b"[%d bytes of this log could not be written]\n" % self._dropped)
                self._dropped = 0
            if self._file.tell() + len(data) > self._max_bytes:
                line, newline, data = data.partition(b"\n")
                self._file.write(line + newline)
                self._rotate()
            self._file.write(data)
        except OSError:
            self._dropped += len(data)
            self.close()

    def close(self) -> None:
        """Closes the file. The next write opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rotate(self) -> None:
        self.close()
        names = [self._path, *(self._path.with_suffix(f".log.{number}") for number in range(1, self._max_files))]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)
        self._file = self._path.open("ab", buffering=0)


class LogPipe:
    """A pipe from child processes to a log file. The event loop that creates it reads it."""

    def __init__(self, path: Path) -> None:
        self._file = RotatingFile(path)
        self._file.write(b"")  # creates the file
        self._reading_end, self.writing_end = os.pipe()
        os.set_blocking(self._reading_end, False)
        _enlarge(self.writing_end)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reading_end, self.drain)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drain(self) -> None:
        """Writes the content of the pipe to the file."""
        with suppress(BlockingIOError):
            self._file.write(os.read(self._reading_end, _PIPE_BYTES))

    def close(self) -> None:
        """Writes the remaining output and closes both ends of the pipe."""
        self._loop.remove_reader(self._reading_end)
        self.drain()
        os.close(self._reading_end)
        os.close(self.writing_end)
        self._file.close()


def _enlarge(pipe: int) -> None:
    """Enlarges the buffer of a pipe if the system permits, because writers block while the buffer is full."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(PermissionError):  # the user has reached the limit
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

_LOG_LINES_SHOWN = 15
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class User:
    """An account of this machine."""

    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Command:
    """A program with its arguments and environment."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Additional environment variables. Must not contain secrets: other processes can read the environment."""
    folder: Path = ROOT
    user: User | None = None
    """The account that runs it. None for the user of this process."""
    stop_signal: signal.Signals = signal.SIGTERM
    """The signal that stops it."""


async def spawn(
    command: Command, *, output: LogPipe, errors: LogPipe, stdin: IO[str] | int | None = None
) -> asyncio.subprocess.Process:
    """Starts a command that writes its standard output and standard error to logs.

    On Linux, the child receives its stop signal when the calling thread ends. Raises OSError if it cannot be started.
    """
    user = command.user
    return await asyncio.create_subprocess_exec(
        *command.argv,
        stdin=stdin or asyncio.subprocess.DEVNULL,
        stdout=output.writing_end,
        stderr=errors.writing_end,
        cwd=command.folder,
        env={**_build_inherited_environment(), **command.environment},
        start_new_session=True,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=() if user else None,
        preexec_fn=_stop_with_parent(command.stop_signal),
    )


async def run_to_end(name: str, command: Command, log: Path, *, stdin: IO[str] | None = None) -> None:
    """Runs a command until it exits. Raises StartError with the end of its log if it fails."""
    with LogPipe(log) as pipe:
        process = await spawn(command, output=pipe, errors=pipe, stdin=stdin)
        try:
            if code := await process.wait():
                pipe.drain()
                raise StartError(describe_failure(name, describe_exit(code), log))
        finally:
            if process.returncode is None:
                kill_tree(process.pid)
                await process.wait()


def kill_tree(pid: int) -> None:
    """Kills a process and its descendants in all sessions. Does nothing if the process does not exist."""
    import psutil  # noqa: PLC0415 - takes 30 ms, and is rarely needed

    try:
        process = psutil.Process(pid)
        processes = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for each in processes:
        if each.is_running():
            each.kill()


def describe_exit(code: int) -> str:
    """Returns a description of a return code."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def describe_failure(name: str, what: str, log: Path) -> str:
    """Returns an error message with the end of a program's log."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = "\n".join(f"  {line}" for line in text.splitlines()[-_LOG_LINES_SHOWN:])
    return f"{name} {what}. Its log, {log}, ends with:\n{lines or '  (nothing)'}"


def _build_inherited_environment() -> dict[str, str]:
    """Returns the environment of this process without the settings of the supervisor and of Postgres clients."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PULSETRACK_", "PG"))}


def _stop_with_parent(stop_signal: signal.Signals) -> Callable[[], object] | None:
    """Returns a function for the child process that stops it when its supervisor is killed."""
    if sys.platform != "linux":
        return None
    return partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, int(stop_signal))
