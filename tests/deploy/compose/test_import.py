"""Imports into the containers, whose events Apache Kafka delivers."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.clients.conftest import package, wheel
from tests.clients.test_transfers import (
    Tool,
    some_patients,
    test_import_whose_tool_was_killed_is_completed_by_the_next_one,
    write,
)
from tests.deploy.compose.stack import Stack
from tests.e2e.sessions import ADMIN_EMAIL, Session, list_all
from tests.harness.waiting import eventually

__all__ = ["package", "test_import_whose_tool_was_killed_is_completed_by_the_next_one", "wheel"]


@pytest.fixture(scope="module")
def source(
    system: Stack, package: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Tool[Stack], Session]]:
    """The tool, and a session of the first admin."""
    with Session.log_in(system, ADMIN_EMAIL, system.admin_password) as admin:
        tool = Tool(package, tmp_path_factory.mktemp("session"), system)
        with tool.start("login") as login:
            assert login.wait() == 0
        yield tool, admin


def test_each_imported_patient_has_one_account_and_one_event(
    source: tuple[Tool[Stack], Session], tmp_path: Path
) -> None:
    tool, admin = source
    file = write(tmp_path / "patients.ndjson", some_patients(1_000))
    tool.run("import", str(file))
    assert tool.run("import", str(file)) == {"same": 1_000}
    eventually(partial(has_one_of_each, admin), seconds=120)


def has_one_of_each(admin: Session) -> bool:
    """Returns whether each patient has one account and one event of its creation."""
    patients = sorted(each["id"] for each in list_all(admin, "/v1/patients", "patients", showDeleted=True))
    accounts = list_all(admin, "/v1/billing/accounts", "billingAccounts")
    events = list_all(admin, "/v1/analytics/events", "events", type="PATIENT_EVENT_TYPE_CREATED")
    return all(sorted(each["patientId"] for each in rows) == patients for rows in (accounts, events))
