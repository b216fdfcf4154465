"""The program with which the supervisor runs a service: it imports the service and waits for a line."""

import os
import subprocess
import sys

import pytest

from tools.local.process import ROOT


@pytest.mark.parametrize(("line", "code"), [("start\n", 1), ("", 0)], ids=["line", "end"])
def test_service_runs_only_after_a_line(line: str, code: int) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PULSETRACK_")}
    program = [sys.executable, "-m", "tools.local.preload", "services.billing"]
    ended = subprocess.run(program, check=False, capture_output=True, text=True, cwd=ROOT, env=environment, input=line)
    assert (ended.returncode, "A setting is invalid or missing" in ended.stderr) == (code, bool(line)), ended.stderr
