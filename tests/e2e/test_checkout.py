"""The commands of the Makefile, in a checkout and on a data folder whose names hold spaces and letters beyond ASCII."""

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

Ended = subprocess.CompletedProcess[str]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the tree that shares this environment."""
    copy = tmp_path / "Pulse Träck"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build"))
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


def make(target: str, checkout: Path, data: Path) -> Ended:
    """Runs a target, with the variables that follow it, without installing anything. Returns how it ended."""
    command = ["make", "--silent", "--old-file=.venv/.ready", *target.split(" ")]
    environment = os.environ | {"PULSETRACK_DATA_DIR": str(data)}
    return subprocess.run(
        command, cwd=checkout, env=environment, check=False, capture_output=True, text=True, timeout=60
    )


def test_targets_work_in_paths_with_spaces_and_umlauts(checkout: Path, tmp_path: Path) -> None:
    data = tmp_path / "daten für später"
    with run_instance(data, checkout) as copy:
        httpx.post(f"{copy.url}/v1/auth/login", json={"email": "a@clinic.test", "password": "not hers"})
        eventually(lambda: "up to seal" in make(f"audit-archive SERVICE=auth {TOMORROW}", checkout, data).stdout)
        for target, said in (
            ("status", "gateway"),
            ("rotate-keys", "A new key is published"),
            (f"audit-archive {TOMORROW}", "The audit log of billing has no new events before"),
            ("audit-prune", "archived events from the audit log of auth."),
            ("audit-verify", "The audit log of analytics is intact"),
        ):
            ended = make(target, checkout, data)
            assert (ended.returncode, said in ended.stdout + ended.stderr) == (0, True), ended
    for target in ("rotate-keys", "audit-verify"):
        assert sentence(make(target, checkout, data)).startswith(
            f"The database in the data folder {data} does not respond"
        )


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("rotate-keys", "The data folder {} has no system. Start one with `make up`."),
        ("audit-verify", "The data folder {} has no system. Start one with `make up`."),
        ("status", "No instance is running in the data folder {}."),
    ],
)
def test_target_without_a_running_system_prints_one_line_error(tmp_path: Path, target: str, said: str) -> None:
    assert sentence(make(target, ROOT, tmp_path / "no data")) == said.format(tmp_path / "no data")


@pytest.mark.parametrize(
    ("target", "said"),
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
def test_invalid_make_variable_prints_one_line_error(tmp_path: Path, target: str, said: str) -> None:
    assert sentence(make(target, ROOT, tmp_path / "no data")) == said


def sentence(ended: Ended) -> str:
    """Returns the one line that a failed target printed before make's own."""
    [said, _] = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (2, "")
    return said
