"""The real tools, run as in a terminal."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.local.process import ROOT

_PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command from the folder of the project. Skips the test if there is no such program."""
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(
        [program, *command[1:]],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PATH": _PATH, **environment},
        timeout=100,
    )


def output(*command: str, **environment: str) -> str:
    """Runs a command and returns what it prints; fails if it does not succeed."""
    done = run(*command, **environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
