"""Makefile targets in paths with spaces and non-ASCII letters, and with invalid variables."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.harness.waiting import eventually
from tools.instance import run_instance
from tools.local.process import ROOT

TOMORROW = f"BEFORE={(datetime.now(UTC) + timedelta(days=2)).date()}"

HEAD_RULE = "HEAD must be the hash of a seal, 64 hexadecimal digits, as audit-verify prints it"

Result = subprocess.CompletedProcess[str]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the repository that uses this virtual environment."""
    copy = tmp_path / "Pulse Träck"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "node_modules"))
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


def make(target: str, checkout: Path, data: Path) -> Result:
    """Runs a target with variables, without installing packages."""
    command = ["make", "--silent", "--old-file=.venv/.ready", *target.split(" ")]
    environment = os.environ | {"PULSETRACK_DATA_DIR": str(data)}
    return subprocess.run(
        command, cwd=checkout, env=environment, check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.soak
def test_targets_work_in_paths_with_spaces_and_umlauts(checkout: Path, tmp_path: Path) -> None:
    data = tmp_path / "daten für später"
    with run_instance(data, checkout) as instance:
        httpx.post(f"{instance.url}/v1/auth/login", json={"email": "a@clinic.test", "password": "not hers"})
        eventually(lambda: "up to seal" in make(f"audit-archive SERVICE=auth {TOMORROW}", checkout, data).stdout)
        for target, expected in (
            ("status", "gateway"),
            ("rotate-keys", "A new key is published"),
            (f"audit-archive {TOMORROW}", "The audit log of billing has no new events before"),
            ("audit-prune", "archived events from the audit log of auth."),
            ("audit-verify", "The audit log of analytics is intact"),
        ):
            result = make(target, checkout, data)
            assert (result.returncode, expected in result.stdout + result.stderr) == (0, True), result
    for target in ("rotate-keys", "audit-verify"):
        assert one_line_error(make(target, checkout, data)).startswith(
            f"The database in the data folder {data} does not respond"
        )


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("rotate-keys", "The data folder {} has no system. Start one with `make up`."),
        ("audit-verify", "The data folder {} has no system. Start one with `make up`."),
        ("status", "No instance is running in the data folder {}."),
    ],
)
def test_target_without_a_running_system_prints_one_line_error(tmp_path: Path, target: str, expected: str) -> None:
    assert one_line_error(make(target, ROOT, tmp_path / "no data")) == expected.format(tmp_path / "no data")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("audit-archive BEFORE=bad", "BEFORE must be a date such as 2026-01-31, not 'bad'."),
        ("audit-archive", "BEFORE must be a date such as 2026-01-31, not ''."),
        ("audit-verify HEAD=zz", f"{HEAD_RULE}, not 'zz'."),
        ("audit-verify HEAD=00ff", f"{HEAD_RULE}, not '00ff'."),
        *(
            (f"{target} SERVICE=nosuch", "SERVICE must be one of auth, patient, billing, analytics, not 'nosuch'.")
            for target in ("audit-verify", "audit-prune", f"audit-archive {TOMORROW}")
        ),
    ],
    ids=lambda value: value.partition(" BEFORE=2")[0],
)
def test_invalid_make_variable_prints_one_line_error(tmp_path: Path, target: str, expected: str) -> None:
    assert one_line_error(make(target, ROOT, tmp_path / "no data")) == expected


def one_line_error(result: Result) -> str:
    """Returns the one-line error of a failed target, without the line that make prints."""
    [expected, _] = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (2, "")
    return expected
