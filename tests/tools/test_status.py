"""`make status`."""

from pathlib import Path

import psutil
import pytest

from tools import status
from tools.local.data_folder import DataFolder


def test_it_lists_what_runs(
    tmp_path: Path, sleeper: psutil.Process, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULSETRACK_DATA_DIR", str(tmp_path / "data"))
    with DataFolder.taken(tmp_path / "data") as folder:
        folder.record("auth", sleeper.pid, ours=True)
        assert status.main() == 0
    lines = {line.split("  ")[0].strip(): line.split() for line in capsys.readouterr().out.splitlines()}
    assert str(sleeper.pid) in lines["auth *"]
    assert float(lines["* our 1 processes"][4]) > 1


def test_it_says_when_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULSETRACK_DATA_DIR", str(tmp_path))
    assert status.main() == 1
    assert capsys.readouterr().err == f"Nothing runs on the data dir {tmp_path}.\n"
