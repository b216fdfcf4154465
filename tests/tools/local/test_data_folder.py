"""The data folder: its lock, state, ports and secrets."""

import errno
import socket
from pathlib import Path

import psutil
import pytest

from deploy.errors import StartError
from deploy.settings import HOST
from tests.tools.local.fakes import is_alive
from tools.local.data_folder import DataFolder, State
from tools.ports import free_port


def test_ports_and_secrets_persist(tmp_path: Path) -> None:
    with DataFolder.lock(tmp_path / "data") as folder:
        folder.assign_ports(free_port(), ["auth", "patient"])
        ports, secret = dict(folder.state.ports), folder.secret("admin").read_text()
    with DataFolder.lock(tmp_path / "data") as folder:
        assert folder.assign_ports(free_port(), ["auth", "patient"]) == []
        assert folder.state.ports == ports
        assert folder.secret("admin").read_text() == secret
        assert folder.secret("admin", "another").read_text() == secret
        assert folder.secret("admin", "another", keep=False).read_text() == "another"


def test_only_the_owner_can_read_secrets(tmp_path: Path) -> None:
    with DataFolder.lock(tmp_path / "data") as folder:
        assert folder.secret("admin").stat().st_mode & 0o777 == 0o600
        assert folder.path.stat().st_mode & 0o777 == 0o700


def test_previous_port_that_is_in_use_is_replaced(tmp_path: Path) -> None:
    with DataFolder.lock(tmp_path / "data") as folder, socket.socket() as other:
        folder.assign_ports(free_port(), ["auth", "patient"])
        before = dict(folder.state.ports)
        other.bind((HOST, before["auth"]))
        other.listen()
        assert folder.assign_ports(free_port(), ["auth", "patient"]) == ["auth"]
        assert folder.state.ports["auth"] != before["auth"]
        assert folder.state.ports["patient"] == before["patient"]


def test_processes_that_a_killed_supervisor_left_are_stopped(tmp_path: Path, sleeper: psutil.Process) -> None:
    with DataFolder.lock(tmp_path / "data") as folder:
        folder.record("auth", sleeper.pid, ours=True)
    with DataFolder.lock(tmp_path / "data") as folder:
        assert folder.stop_leftovers() == ["auth"]
        assert not is_alive(sleeper)
        assert folder.state.processes == {}


def test_other_process_with_a_recorded_pid_is_not_stopped(tmp_path: Path, sleeper: psutil.Process) -> None:
    with DataFolder.lock(tmp_path / "data") as folder:
        folder.record("auth", sleeper.pid, ours=True)
        folder.state.processes["auth"].start_time -= 3600
        assert folder.stop_leftovers() == []
        assert is_alive(sleeper)


def test_second_instance_is_rejected(tmp_path: Path) -> None:
    with (
        DataFolder.lock(tmp_path / "data"),
        pytest.raises(StartError, match="PulseTrack is already running in the data folder"),
        DataFolder.lock(tmp_path / "data"),
    ):
        pass


def test_folder_with_other_files_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(StartError, match="contains other files"), DataFolder.lock(tmp_path):
        pass
    assert not (tmp_path / "secrets").exists()


@pytest.mark.parametrize("ports", [b'{"auth": "many"}', b'{"\xff": 1}'])
def test_damaged_state_is_rejected(tmp_path: Path, ports: bytes) -> None:
    assert State.read(tmp_path) is None
    (tmp_path / "state.json").write_bytes(b'{"format": 1, "ports": %b}' % ports)
    with pytest.raises(StartError, match="is damaged"):
        State.read(tmp_path)


def test_generated_password_is_shown_once(tmp_path: Path) -> None:
    with DataFolder.lock(tmp_path / "data") as folder:
        assert folder.mark_password_shown()
    with DataFolder.lock(tmp_path / "data") as folder:
        assert not folder.mark_password_shown()


def test_state_that_a_full_disk_rejects_is_saved_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DataFolder.lock(tmp_path / "data") as folder:
        with monkeypatch.context() as patch:
            patch.setattr(State, "write", raise_disk_full)
            folder.record("auth", 1, ours=True)
            assert folder.save() == "No space left on device"
        assert folder.save() == ""
    saved = State.read(tmp_path / "data")
    assert saved is not None
    assert list(saved.processes) == ["auth"]


def raise_disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
