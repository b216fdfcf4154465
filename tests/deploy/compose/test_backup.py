"""Backups of the containers' databases, restored into new containers."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.deploy.compose.stack import Stack
from tests.e2e.sessions import ADMIN_EMAIL, Session, a_patient, list_all
from tests.harness.waiting import eventually
from tools.ports import free_port


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Stack]:
    """The name and the folder of a stack that does not exist."""
    stack = Stack(f"pulsetrack-test-{uuid4().hex[:8]}", tmp_path / "other", free_port())
    yield stack
    stack.compose("down", "--volumes", "--timeout", "5")


def test_backup_is_restored_into_new_containers(system: Stack, user: Session, tmp_path: Path, other: Stack) -> None:
    created, erased = (user.post("/v1/patients", a_patient()) for _ in range(2))
    backup = tmp_path / "backup"
    system.run_backup("create", "--to", str(backup))
    with Session.log_in(system, ADMIN_EMAIL, system.admin_password) as admin:
        admin.post(f"/v1/patients/{erased['id']}:erase", {"reason": "Request 2026-117"})
    system.run_backup("create", "--to", str(tmp_path / "newer"))
    system.compose("stop")
    try:
        other.run_backup("restore", "--from", str(backup))
        other.run_program("up")
        with Session.log_in(other, ADMIN_EMAIL, other.admin_password) as admin:
            assert admin.get(f"/v1/patients/{created['id']}") == created
            patients = {patient["id"] for patient in list_all(admin, "/v1/patients", "patients", showDeleted=True)}
            eventually(lambda: admin.rest.get(f"/v1/patients/{erased['id']}").status_code == httpx.codes.NOT_FOUND)
            eventually(partial(have_resources, admin, patients), seconds=60)
        other.compose("stop")
    finally:
        system.run_program("up")


def have_resources(session: Session, patients: set[str]) -> bool:
    """Returns whether exactly these patients have billing accounts and events."""
    lists = (("/v1/billing/accounts", "billingAccounts"), ("/v1/analytics/events", "events"))
    return all({row["patientId"] for row in list_all(session, *names)} == patients for names in lists)


def test_existing_containers_are_not_overwritten(system: Stack, tmp_path: Path) -> None:
    backup = str(tmp_path / "backup")
    system.run_backup("create", "--to", backup)
    with pytest.raises(AssertionError, match="already exists"):
        system.run_backup("restore", "--from", backup)
