"""Tests that the audit commands reject invalid arguments with a one-line error."""

import subprocess
import sys

import pytest

from tools.local.process import ROOT


@pytest.mark.parametrize(
    ("command", "arguments", "error"),
    [
        ("verify", "", "the following arguments are required: service"),
        ("verify", "nothing", "argument service: invalid choice: 'nothing'"),
        ("archive", "billing --folder x --before soon", "argument --before: 'soon' is not a date such as 2026-01-31"),
        ("prune", "billing", "the following arguments are required: --folder"),
    ],
)
def test_invalid_arguments_end_with_a_one_line_error(command: str, arguments: str, error: str) -> None:
    module = f"services.common.audit.{command}"
    argv = [sys.executable, "-m", module, *arguments.split()]
    result = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"python -m {module}: {error}")
