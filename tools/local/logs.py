"""Log files of child processes, limited in size and rotated while the processes write."""

import asyncio
import fcntl
import os
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import IO, Self

MAX_BYTES = 10_000_000
KEPT_FILES = 5
"""How many files a log has at most; the oldest is deleted."""

_PIPE_BYTES = 1024 * 1024


class RotatingFile:
    """A log file that becomes NAME.log.1 when it is full. Output that cannot be written, to a full disk, is dropped."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT_FILES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._file: IO[bytes] | None = None
        self._dropped = 0

    def write(self, data: bytes) -> None:
        """Appends output. Lines are not torn apart by a rotation."""
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
        """Closes the file; the next write opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rotate(self) -> None:
        self.close()
        names = [self._path, *(self._path.with_suffix(f".log.{number}") for number in range(1, self._kept))]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)
        self._file = self._path.open("ab", buffering=0)


class LogPipe:
    """A pipe from child processes to a log file, read by the event loop that made it."""

    def __init__(self, path: Path) -> None:
        self._file = RotatingFile(path)
        self._file.write(b"")  # so that the file is there
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
        """Writes to the file what the pipe holds."""
        with suppress(BlockingIOError):
            self._file.write(os.read(self._reading_end, _PIPE_BYTES))

    def close(self) -> None:
        """Writes what is left and closes the pipe, for processes that still have it too."""
        self._loop.remove_reader(self._reading_end)
        self.drain()
        os.close(self._reading_end)
        os.close(self.writing_end)
        self._file.close()


def _enlarge(pipe: int) -> None:
    """Enlarges the buffer of a pipe where the system lets us, so that a burst of output waits for no reader."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(PermissionError):  # the user has many large pipes already
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
