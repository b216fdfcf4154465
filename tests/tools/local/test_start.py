"""`python -m tools.local` exits with 1 and a one-line error if PulseTrack cannot run."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.settings import HOST
from tools.local.data_folder import DataFolder
from tools.local.process import ROOT


def start(folder: Path, **settings: str) -> str:
    """Starts PulseTrack, which must fail, and returns the error."""
    settings = {"PULSETRACK_DATA_DIR": str(folder), **settings}
    command = [sys.executable, "-m", "tools.local"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **settings})
    assert (ran.returncode, ran.stdout) == (1, "")
    return ran.stderr.strip()


def test_second_instance_in_a_data_folder_is_rejected(tmp_path: Path) -> None:
    with DataFolder.lock(tmp_path / "data"):
        error = start(tmp_path / "data")
    assert error == (
        f"PulseTrack is already running in the data folder {tmp_path / 'data'}. "
        "Stop it, or set PULSETRACK_DATA_DIR to another folder."
    )


def test_gateway_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        error = start(tmp_path / "data", PULSETRACK_GATEWAY_PORT=str(port))
    assert error == f"Port {port} is in use. Set PULSETRACK_GATEWAY_PORT to another port."


def test_data_folder_of_another_format_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"format": 99, "what": ["ever"]}')
    assert start(tmp_path) == (
        f"The data folder {tmp_path} has format 99, but this version of PulseTrack requires format 1. "
        "Use the version that created it, or set PULSETRACK_DATA_DIR to another folder."
    )


def test_data_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = start(tmp_path / "file" / "data")
    assert error == f"The data folder {tmp_path / 'file' / 'data'} cannot be used: Not a directory."


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("PULSETRACK_GATEWAY_PORT", "http", "PULSETRACK_GATEWAY_PORT must be a number from 1 to 65535, not 'http'."),
        ("PULSETRACK_WORKERS", "0", "PULSETRACK_WORKERS must be a number from 1 to 64, not '0'."),
        ("PULSETRACK_REFLECTION", "yes", "PULSETRACK_REFLECTION must be on or off, not 'yes'."),
        ("PULSETRACK_RATE_LIMITS", "no", "PULSETRACK_RATE_LIMITS must be on or off, not 'no'."),
    ],
)
def test_invalid_setting_is_reported(tmp_path: Path, name: str, value: str, error: str) -> None:
    assert start(tmp_path / "data", **{name: value}) == error
