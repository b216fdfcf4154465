"""A stopped and restarted system has its data, sessions and access events."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.sessions import ADMIN_EMAIL, Session, a_patient, list_methods
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance
from tools.local.process import ROOT

READS = 20


@dataclass(frozen=True)
class Restarted:
    """A restarted instance, and what a user did before it was stopped."""

    instance: Instance
    created: dict[str, Any]
    """A patient that the user created."""
    read: str
    """The id of a patient that the user created, and then read until the stop."""
    token: str
    refresh_token: str


@pytest.fixture(scope="module")
def restarted(new_folder: NewFolder) -> Iterator[Restarted]:
    folder = new_folder("restarted")
    with run_instance(folder) as instance, Session.sign_up(instance) as user:
        created, read = (user.post("/v1/patients", a_patient()) for _ in range(2))
        for _ in range(READS):
            user.get(f"/v1/patients/{read['id']}")
        assert instance.stop() == 0
    with run_instance(folder) as instance:
        yield Restarted(instance, created, read["id"], user.token, user.refresh_token)


def test_restart_preserves_data_and_sessions(restarted: Restarted) -> None:
    instance, created = restarted.instance, restarted.created
    with Session.open(instance, restarted.token) as session:
        assert session.get(f"/v1/patients/{created['id']}") == created
        session.post("/v1/auth/refresh", {"refreshToken": restarted.refresh_token})
        with Session.log_in(instance, ADMIN_EMAIL, instance.admin_password) as admin:
            assert admin.get("/v1/auth/me")["role"] == "ROLE_ADMIN"
        eventually(lambda: session.get("/v1/analytics/events", patientId=created["id"]).get("events"))
        eventually(lambda: session.get("/v1/billing/accounts", patientId=created["id"]).get("billingAccounts"))


def test_restart_loses_no_access_events(restarted: Restarted) -> None:
    instance = restarted.instance
    with Session.log_in(instance, ADMIN_EMAIL, instance.admin_password) as admin:
        assert list_methods(admin, restarted.read) == ["CreatePatient", *["GetPatient"] * READS]
        eventually(lambda: ", 0 not sealed yet." in verify_audit(instance).stdout)


def verify_audit(instance: Instance) -> subprocess.CompletedProcess[str]:
    """Verifies the audit log of a running instance, like `make audit-verify`."""
    environment = os.environ | {
        "PULSETRACK_DATABASE_URL_FILE": str(instance.folder / "secrets" / "patient-database-url")
    }
    command = [sys.executable, "-m", "services.common.audit.verify", "patient"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
