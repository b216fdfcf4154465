"""A drill: a backup from before an erasure is restored, and the patient is erased again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.sessions import ADMIN_EMAIL, Session, a_patient
from tests.e2e.test_erasure import build_values, find, read_databases
from tests.harness.background import Background
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tests.tools.backup.test_drill import run
from tools.instance import Instance, run_instance

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

EXECUTED = {"state": "ERASURE_STATE_EXECUTED"}


@contextmanager
def start(folder: Path) -> Iterator[tuple[Instance, Session]]:
    """Runs a system that erases patients at once."""
    settings = {"PULSETRACK_RATE_LIMITS": "off", "PULSETRACK_ERASURE_DELAY_DAYS": "0"}
    with (
        run_instance(folder, **settings) as instance,
        Session.log_in(instance, ADMIN_EMAIL, instance.admin_password) as admin,
    ):
        yield instance, admin


def list_executed(admin: Session) -> list[Any]:
    """Returns the erasures that were executed."""
    erasures: list[Any] = admin.get("/v1/erasures", **EXECUTED).get("erasures", [])
    return erasures


def have_erased(admin: Session, patient_id: str) -> bool:
    """Returns whether billing and analytics have received the erasure."""
    query = {"patientId": patient_id}
    accounts = admin.get("/v1/billing/accounts", **query)["billingAccounts"]
    events = admin.get("/v1/analytics/events", **query)["events"]
    return [account["name"] for account in accounts] == ["erased"] and len(events) == 3


def test_restored_patient_is_erased_again(background: Background, new_folder: NewFolder, tmp_path: Path) -> None:
    values = build_values()
    backups, data = tmp_path / "backups", tmp_path / "restored"
    with start(new_folder("erased")) as (instance, admin):
        created = admin.post("/v1/patients", a_patient(**values))
        eventually(lambda: admin.get("/v1/billing/accounts", patientId=created["id"])["billingAccounts"])
        run(instance.folder, "tools.backup", "create", "--to", backups / "first")
        admin.post(f"/v1/patients/{created['id']}:erase", {"reason": "Request 2026-117"})
        [erased] = eventually(lambda: list_executed(admin), seconds=60)
        run(instance.folder, "tools.backup", "create", "--to", backups / "second")
    printed = run(data, "tools.backup", "restore", "--from", backups / "first")
    assert "repeats the erasures" in printed
    with start(data) as (instance, admin):
        [repeated] = eventually(lambda: list_executed(admin), seconds=60)
        assert repeated | {"executeTime": ""} == erased | {"executeTime": ""}
        eventually(lambda: have_erased(admin, created["id"]), seconds=60)
        assert find(list(values.values()), read_databases(background, instance)) == set()
        events = admin.get(f"/v1/patients/{created['id']}/access-events")["accessEvents"]
        queries = [event["query"] for event in events if event["method"].endswith("/ErasePatient")]
        assert queries == ['{"executed":true}', '{"repeated":true}']
        eventually(lambda: "intact" in run(data, "tools.operate", "audit-verify"))
