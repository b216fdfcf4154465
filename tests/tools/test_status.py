"""`make status`."""

from pathlib import Path

import psutil
import pytest

from tools import status
from tools.local.data_folder import DataFolder


def test_running_processes_are_listed(
    tmp_path: Path, sleeper: psutil.Process, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULSETRACK_DATA_DIR", str(tmp_path / "data"))
    with DataFolder.lock(tmp_path / "data") as folder:
        folder.record("auth", sleeper.pid, ours=True)
        assert status.main() == 0
    lines = {line.split("  ")[0].strip(): line.split() for line in capsys.readouterr().out.splitlines()}
    assert str(sleeper.pid) in lines["auth *"]
    assert float(lines["* PulseTrack (1)"][3]) > 1


def test_stopped_system_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULSETRACK_DATA_DIR", str(tmp_path))
    assert status.main() == 1
    assert capsys.readouterr().err == f"No instance is running in the data folder {tmp_path}.\n"
