"""The data folder: who may use it, and what it keeps."""

import errno
import socket
from pathlib import Path

import psutil
import pytest

from deploy.errors import StartError
from deploy.settings import HOST
from tests.tools.fakes import is_alive
from tools.local.data_folder import DataFolder, State
from tools.ports import free_port


def test_ports_and_secrets_are_kept(tmp_path: Path) -> None:
    with DataFolder.taken(tmp_path / "data") as folder:
        folder.keep_ports(free_port(), ["auth", "patient"])
        ports, secret = dict(folder.state.ports), folder.secret("admin").read_text()
    with DataFolder.taken(tmp_path / "data") as folder:
        assert folder.keep_ports(free_port(), ["auth", "patient"]) == []
        assert folder.state.ports == ports
        assert folder.secret("admin").read_text() == secret
        assert folder.secret("admin", "another").read_text() == secret
        assert folder.secret("admin", "another", keep=False).read_text() == "another"


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    with DataFolder.taken(tmp_path / "data") as folder:
        assert folder.secret("admin").stat().st_mode & 0o777 == 0o600
        assert folder.path.stat().st_mode & 0o777 == 0o700


def test_a_kept_port_that_is_taken_is_replaced(tmp_path: Path) -> None:
    with DataFolder.taken(tmp_path / "data") as folder, socket.socket() as other:
        folder.keep_ports(free_port(), ["auth", "patient"])
        before = dict(folder.state.ports)
        other.bind((HOST, before["auth"]))
        other.listen()
        assert folder.keep_ports(free_port(), ["auth", "patient"]) == ["auth"]
        assert folder.state.ports["auth"] != before["auth"]
        assert folder.state.ports["patient"] == before["patient"]


def test_what_a_killed_supervisor_left_is_stopped(tmp_path: Path, sleeper: psutil.Process) -> None:
    with DataFolder.taken(tmp_path / "data") as folder:
        folder.record("auth", sleeper.pid, ours=True)
    with DataFolder.taken(tmp_path / "data") as folder:
        assert folder.stop_leftovers() == ["auth"]
        assert not is_alive(sleeper)
        assert folder.state.processes == {}


def test_another_process_with_the_pid_of_a_former_one_is_left_alone(tmp_path: Path, sleeper: psutil.Process) -> None:
    with DataFolder.taken(tmp_path / "data") as folder:
        folder.record("auth", sleeper.pid, ours=True)
        folder.state.processes["auth"].start_time -= 3600
        assert folder.stop_leftovers() == []
        assert is_alive(sleeper)


def test_a_second_copy_is_refused(tmp_path: Path) -> None:
    with (
        DataFolder.taken(tmp_path / "data"),
        pytest.raises(StartError, match="PulseTrack runs already on the data dir"),
        DataFolder.taken(tmp_path / "data"),
    ):
        pass


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(StartError, match="holds other files"), DataFolder.taken(tmp_path):
        pass
    assert not (tmp_path / "secrets").exists()


def test_a_state_is_read_whole_or_refused(tmp_path: Path) -> None:
    assert State.read(tmp_path) is None
    (tmp_path / "state.json").write_text('{"format": 1, "ports": {"auth": "many"}}')
    with pytest.raises(StartError, match="is damaged"):
        State.read(tmp_path)


def test_the_generated_password_is_shown_once(tmp_path: Path) -> None:
    with DataFolder.taken(tmp_path / "data") as folder:
        assert folder.first_time_shown()
    with DataFolder.taken(tmp_path / "data") as folder:
        assert not folder.first_time_shown()


def test_a_state_that_the_disk_does_not_take_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DataFolder.taken(tmp_path / "data") as folder:
        with monkeypatch.context() as full:
            full.setattr(State, "write", disk_full)
            folder.record("auth", 1, ours=True)
            assert folder.save() == "No space left on device"
        assert folder.save() == ""
    kept = State.read(tmp_path / "data")
    assert kept is not None
    assert list(kept.processes) == ["auth"]


def disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
