"""On a full disk the supervisor keeps restarting processes. The system recovers when space is available."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.disk import fill, mount_disk
from tests.e2e.sessions import Session, a_patient
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance
from tools.local.process import ROOT
from tools.ports import free_port


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    with mount_disk(tmp_path, megabytes=400) as disk:
        if disk is None:
            pytest.skip("mounting a file system requires root")
        yield disk


def find_pid(instance: Instance, program: str) -> int | None:
    """Returns the pid of the supervisor's child that runs a program. The state file may be outdated."""
    for child in psutil.Process(instance.supervisor.pid).children():
        with suppress(psutil.NoSuchProcess):  # it has exited; psutil.ZombieProcess is a subclass
            if program in " ".join(child.cmdline()):
                return child.pid
    return None


@pytest.mark.soak
def test_processes_restart_on_a_full_disk_and_the_system_recovers(small_disk: Path) -> None:
    with run_instance(small_disk / "data") as instance, Session.sign_up(instance) as session:
        created = session.post("/v1/patients", a_patient())
        filler = fill(small_disk)
        killed = {program: kill(instance, program) for program in ("services.patient", "envoy.json", "broker")}
        for program, old in killed.items():
            eventually(lambda program=program, old=old: find_pid(instance, program) not in {old, None})  # type: ignore[misc]
        eventually(lambda: is_responding(instance))
        for command in ("rotate-keys", "audit-verify"):
            result = operate(instance, command)
            assert result.returncode == 0 or len(result.stderr.splitlines()) == 1, result.stderr
        killed["postgres"] = kill(instance, "bin/postgres")
        eventually(lambda: find_pid(instance, "bin/postgres") != killed["postgres"])
        filler.unlink()
        eventually(lambda: created in list_patients(session), seconds=60)
        eventually(lambda: session.rest.post("/v1/patients", json=a_patient()).is_success)
        eventually(lambda: find_pid(instance, "services.patient") == instance.state().processes["patient"].pid)


def test_start_on_a_full_disk_prints_one_line_error(small_disk: Path) -> None:
    fill(small_disk)
    folder = small_disk / "data"
    environment = os.environ | {"PULSETRACK_DATA_DIR": str(folder), "PULSETRACK_GATEWAY_PORT": str(free_port())}
    command = [sys.executable, "-m", "tools.local"]
    result = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"The data folder {folder} cannot be used: No space left on device.\n"


def operate(instance: Instance, command: str) -> "subprocess.CompletedProcess[str]":
    """Runs an operator command on an instance."""
    environment = os.environ | {"PULSETRACK_DATA_DIR": str(instance.folder)}
    argv = [sys.executable, "-m", "tools.operate", command]
    return subprocess.run(argv, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60)


def kill(instance: Instance, program: str) -> int:
    """Kills the process that runs a program, and returns its pid."""
    pid = find_pid(instance, program)
    assert pid
    os.kill(pid, signal.SIGKILL)
    return pid


def is_responding(instance: Instance) -> bool:
    """Returns whether the gateway and auth respond."""
    try:
        return httpx.get(f"{instance.url}/.well-known/jwks.json").is_success
    except httpx.TransportError:
        return False


def list_patients(session: Session) -> list[Any]:
    """Returns the patients, or an empty list while the system is unavailable."""
    response = session.rest.get("/v1/patients")
    return response.json()["patients"] if response.is_success else []
