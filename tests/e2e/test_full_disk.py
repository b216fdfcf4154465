"""A full disk: the supervisor and what needs no disk go on, parts come back, and it all works when there is room."""

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

from tests.e2e.disk import fill, mounted
from tests.e2e.sessions import Session, a_patient
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance
from tools.local.process import ROOT
from tools.ports import free_port


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    with mounted(tmp_path, megabytes=400) as disk:
        if disk is None:
            pytest.skip("only root may mount a small disk")
        yield disk


def pid_of(copy: Instance, program: str) -> int | None:
    """Returns the pid of the supervisor's child that runs a program. The state file may be out of date."""
    for child in psutil.Process(copy.supervisor.pid).children():
        with suppress(psutil.NoSuchProcess):  # it has ended: psutil.ZombieProcess is one
            if program in " ".join(child.cmdline()):
                return child.pid
    return None


def test_processes_restart_on_a_full_disk_and_the_system_recovers(small_disk: Path) -> None:
    with run_instance(small_disk / "data") as copy, Session.sign_up(copy) as session:
        created = session.post("/v1/patients", a_patient())
        filler = fill(small_disk)
        killed = {program: kill(copy, program) for program in ("services.patient", "envoy.yaml", "broker")}
        for program, old in killed.items():
            eventually(lambda program=program, old=old: pid_of(copy, program) not in {old, None})  # type: ignore[misc]
        eventually(lambda: answers(copy))
        for command in ("rotate-keys", "audit-verify"):
            ended = operate(copy, command)
            assert ended.returncode == 0 or len(ended.stderr.splitlines()) == 1, ended.stderr
        killed["postgres"] = kill(copy, "bin/postgres")
        eventually(lambda: pid_of(copy, "bin/postgres") != killed["postgres"])
        filler.unlink()
        eventually(lambda: created in all_patients(session), seconds=60)
        eventually(lambda: session.rest.post("/v1/patients", json=a_patient()).is_success)
        eventually(lambda: pid_of(copy, "services.patient") == copy.state().processes["patient"].pid)


def test_start_on_a_full_disk_prints_one_line_error(small_disk: Path) -> None:
    fill(small_disk)
    folder = small_disk / "data"
    environment = os.environ | {"PULSETRACK_DATA_DIR": str(folder), "PULSETRACK_GATEWAY_PORT": str(free_port())}
    command = [sys.executable, "-m", "tools.local"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"The data folder {folder} cannot be used: No space left on device.\n"


def operate(copy: Instance, command: str) -> "subprocess.CompletedProcess[str]":
    """Runs an operator's command on a copy."""
    environment = os.environ | {"PULSETRACK_DATA_DIR": str(copy.folder)}
    argv = [sys.executable, "-m", "tools.operate", command]
    return subprocess.run(argv, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60)


def kill(copy: Instance, program: str) -> int:
    """Kills the part that runs a program, and returns its former pid."""
    pid = pid_of(copy, program)
    assert pid
    os.kill(pid, signal.SIGKILL)
    return pid


def answers(copy: Instance) -> bool:
    """Tells whether the gateway and a service behind it answer."""
    try:
        return httpx.get(f"{copy.url}/.well-known/jwks.json").is_success
    except httpx.TransportError:
        return False


def all_patients(session: Session) -> list[Any]:
    """Returns the patients, none while the system does not answer."""
    answer = session.rest.get("/v1/patients")
    return answer.json()["patients"] if answer.is_success else []
