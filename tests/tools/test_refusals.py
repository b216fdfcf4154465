"""Where PulseTrack cannot run, it says why in one sentence and ends with 1."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.settings import HOST
from tools.local.data_folder import DataFolder
from tools.local.process import ROOT


def refusal(folder: Path, **settings: str) -> str:
    """Starts PulseTrack on the folder and returns what it says instead of running."""
    settings = {"PULSETRACK_DATA_DIR": str(folder), **settings}
    command = [sys.executable, "-m", "tools.local"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **settings})
    assert (ran.returncode, ran.stdout) == (1, "")
    return ran.stderr.strip()


def test_a_second_copy(tmp_path: Path) -> None:
    with DataFolder.taken(tmp_path / "data"):
        sentence = refusal(tmp_path / "data")
    assert sentence == (
        f"PulseTrack runs already on the data dir {tmp_path / 'data'}: "
        "stop it, or name another folder in PULSETRACK_DATA_DIR."
    )


def test_a_taken_gateway_port(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        sentence = refusal(tmp_path / "data", PULSETRACK_GATEWAY_PORT=str(port))
    assert sentence == f"Port {port} is taken by another program: choose another in PULSETRACK_GATEWAY_PORT."


def test_a_data_dir_of_another_format(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"format": 99, "what": ["ever"]}')
    assert refusal(tmp_path) == (
        f"The data dir {tmp_path} is of format 99 and this version of PulseTrack knows format 1: "
        "run it with the version that made it, or name another folder in PULSETRACK_DATA_DIR."
    )


def test_a_data_dir_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sentence = refusal(tmp_path / "file" / "data")
    assert sentence == f"The data dir {tmp_path / 'file' / 'data'} cannot be used: Not a directory."


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PULSETRACK_GATEWAY_PORT", "http", "PULSETRACK_GATEWAY_PORT must be a number from 1 to 65535, not 'http'."),
        ("PULSETRACK_WORKERS", "0", "PULSETRACK_WORKERS must be a number from 1 to 64, not '0'."),
        ("PULSETRACK_REFLECTION", "yes", "PULSETRACK_REFLECTION must be on or off, not 'yes'."),
        ("PULSETRACK_RATE_LIMITS", "no", "PULSETRACK_RATE_LIMITS must be on or off, not 'no'."),
    ],
)
def test_a_setting_that_makes_no_sense(tmp_path: Path, name: str, value: str, sentence: str) -> None:
    assert refusal(tmp_path / "data", **{name: value}) == sentence
