"""The system behind PgBouncer in transaction mode, without prepared statements."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from tests.e2e.patient_creator import PatientCreator
from tests.e2e.pooled import PROGRAM
from tests.e2e.sessions import ADMIN_EMAIL, Session, a_patient, list_all
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(PROGRAM is None, reason="the Debian package pgbouncer is not installed"),
]


@pytest.fixture(scope="module")
def pooled(new_folder: NewFolder) -> Iterator[Instance]:
    """A system whose services connect to PgBouncer."""
    with run_instance(new_folder("pooled"), module="tests.e2e.pooled", PULSETRACK_RATE_LIMITS="off") as instance:
        yield instance


def test_journey(pooled: Instance) -> None:
    with Session.sign_up(pooled) as user:
        created = user.post("/v1/patients", a_patient())
        path = f"/v1/patients/{created['id']}"
        updated = user.request("PATCH", path, json={"name": "Ana Costa"}).raise_for_status().json()
        assert user.get(path) == updated
        assert [each["id"] for each in user.get("/v1/patients", query="Costa")["patients"]] == [created["id"]]
        assert len(user.get(f"{path}/revisions")["revisions"]) == 2
        accounts = eventually(lambda: user.get("/v1/billing/accounts", patientId=created["id"]).get("billingAccounts"))
        assert [account["patientId"] for account in accounts] == [created["id"]]
        assert eventually(lambda: user.get("/v1/analytics/events", patientId=created["id"]).get("events"))
    with Session.log_in(pooled, ADMIN_EMAIL, pooled.admin_password) as admin:
        assert len(eventually(lambda: admin.get(f"{path}/access-events").get("accessEvents"))) > 1


@pytest.mark.parametrize("part", ["pgbouncer", "postgres", "patient"])
def test_killed_process_loses_no_acknowledged_patient(pooled: Instance, part: str) -> None:
    with PatientCreator(pooled) as creator:
        eventually(lambda: len(creator.acknowledged) > 20)
        old = pooled.state().processes[part].pid
        os.kill(old, signal.SIGKILL)
        eventually(lambda: pooled.state().processes[part].pid != old)
        acknowledged = len(creator.acknowledged)
        eventually(lambda: len(creator.acknowledged) > acknowledged + 20, seconds=60)
    with Session.log_in(pooled, ADMIN_EMAIL, pooled.admin_password) as admin:
        for path, field in (("/v1/billing/accounts", "billingAccounts"), ("/v1/analytics/events", "events")):
            eventually(partial(is_complete, admin, path, field, creator.acknowledged))


def is_complete(session: Session, path: str, field: str, patient_ids: list[str]) -> bool:
    """Returns whether a list has a resource for each patient. Fails if it has more than one."""
    counts = Counter(row["patientId"] for row in list_all(session, path, field))
    assert {counts[patient_id] for patient_id in patient_ids} <= {0, 1}
    return set(patient_ids) <= set(counts)
