"""A local system with movable clocks. `python -m tests.e2e.clocks` starts it like `python -m tools.local`.

Envoy does not start under libfaketime, and the embedded broker is linked statically. Moving all other clocks has the
same effect on them as moving their own in the opposite direction.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil

from tools.local import __main__ as local
from tools.local.part import Part, Step
from tools.local.system import System

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
MOVABLE = ("auth", "patient", "billing", "analytics", "postgres")

_FOLDER = "CLOCKS_FOLDER"


class Clocks:
    """The clocks of the movable processes of one instance."""

    def __init__(self, folder: Path) -> None:
        """Takes a folder that every account can read, because Postgres has its own account."""
        self._folder = folder
        self.environment = {_FOLDER: str(folder)}
        """The environment of the instance's supervisor."""
        self.set(MOVABLE, 0)

    def set(self, parts: tuple[str, ...], offset_seconds: int) -> None:
        """Sets clocks to an offset from the machine's. Processes follow within a second."""
        for part in parts:
            (self._folder / part).write_text(f"{offset_seconds:+d}\n", encoding="utf-8")


def clock_offset(pid: int) -> float:
    """Returns the offset, in seconds, of a process's clock from the machine's, read as its user in its environment."""
    process = psutil.Process(pid)
    assert str(LIBRARY) in {file.path for file in process.memory_maps()}
    read = subprocess.run(
        ["date", "+%s"], env=process.environ(), user=process.uids().real, check=True, capture_output=True, text=True
    )
    return int(read.stdout) - time.time()


class _SystemWithClocks(System):
    def nodes(self) -> Iterator[Part | Step]:
        for node in super().nodes():
            if isinstance(node, Part) and node.name in MOVABLE:
                environment = {**node.command.environment, **_libfaketime(node.name)}
                yield replace(node, command=replace(node.command, environment=environment))
            else:
                yield node


def _libfaketime(part: str) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(Path(os.environ[_FOLDER]) / part),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",
    }


if __name__ == "__main__":
    local.System = _SystemWithClocks  # type: ignore[attr-defined]
    sys.exit(local.main())
