"""Runs third-party tools as subprocesses."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.local.process import ROOT

_PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def find_program(name: str) -> Path:
    """Returns the path of a program. Skips the test if it is not installed."""
    program = shutil.which(name, path=_PATH)
    if program is None:
        pytest.skip(f"{name} is not installed")
    return Path(program)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the project folder. Skips the test if the program is not installed."""
    return subprocess.run(
        [str(find_program(command[0])), *command[1:]],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PATH": _PATH, **environment},
        timeout=100,
    )


def output(*command: str, **environment: str) -> str:
    """Returns the standard output of a command. Fails the test if the command fails."""
    process = run(*command, **environment)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    return process.stdout
