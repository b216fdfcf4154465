"""The system behind PgBouncer in transaction mode, without prepared statements: the journey, and faults under load."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import psutil
import pytest

from tests.e2e.patient_creator import PatientCreator
from tests.e2e.pooled import PROGRAM
from tests.e2e.sessions import ADMIN_EMAIL, Session, list_all
from tests.e2e.test_journey import (  # noqa: F401 - the tests run here too, with the fixture `system` of this module
    test_admin_deletes_a_patient,
    test_admin_reads_dead_letters,
    test_deleting_a_patient_closes_the_account_and_updates_statistics,
    test_journey_by_grpc,
    test_journey_by_grpcurl,
    test_journey_by_rest,
    test_session_is_refreshed_and_logged_out,
)
from tests.harness.background import Background
from tests.harness.sql import Sql
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance
from tools.local.postgres import Postgres

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(PROGRAM is None, reason="the Debian package pgbouncer is not installed"),
]

FROZEN_SECONDS = 8
READ_ONLY_SECONDS = 5

Fault = Callable[[Instance, Background], None]


@pytest.fixture(scope="module")
def system(new_folder: NewFolder) -> Iterator[Instance]:
    """A system whose services connect to PgBouncer."""
    with run_instance(new_folder("pooled"), module="tests.e2e.pooled", PULSETRACK_RATE_LIMITS="off") as instance:
        yield instance


def kill(instance: Instance, _: Background, *, part: str) -> None:
    """Kills a process, and waits until it is restarted."""
    old = instance.state().processes[part].pid
    os.kill(old, signal.SIGKILL)
    eventually(lambda: instance.state().processes[part].pid != old)


def freeze(instance: Instance, _: Background, *, part: str) -> None:
    """Suspends a process and its children for a while. Their connections stay open."""
    process = psutil.Process(instance.state().processes[part].pid)
    frozen = [process, *process.children(recursive=True)]
    for each in frozen:
        with suppress(psutil.NoSuchProcess):
            each.suspend()
    time.sleep(FROZEN_SECONDS)
    for each in frozen:
        with suppress(psutil.NoSuchProcess):
            each.resume()


def demote(instance: Instance, background: Background) -> None:
    """Makes the server read-only for a while, as a primary that was demoted."""
    password = (instance.folder / "secrets" / "postgres-password").read_text(encoding="utf-8")
    server = Postgres(instance.folder / "postgres", instance.state().ports["postgres"], password, {})
    sql = Sql(background, server.url())
    for value in ("on", "off"):
        sql(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        sql("SELECT pg_reload_conf()")
        time.sleep(READ_ONLY_SECONDS)


FAULTS: dict[str, Fault] = {
    **{f"kill {part}": partial(kill, part=part) for part in ("pgbouncer", "postgres", "patient")},
    **{f"freeze {part}": partial(freeze, part=part) for part in ("pgbouncer", "postgres")},
    "demote postgres": demote,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_loses_no_acknowledged_patient(system: Instance, background: Background, fault: str) -> None:
    with PatientCreator(system) as creator:
        eventually(lambda: len(creator.acknowledged) > 20)
        FAULTS[fault](system, background)
        acknowledged = len(creator.acknowledged)
        eventually(lambda: len(creator.acknowledged) > acknowledged + 20, seconds=60)
    with Session.log_in(system, ADMIN_EMAIL, system.admin_password) as admin:
        for path, field in (("/v1/billing/accounts", "billingAccounts"), ("/v1/analytics/events", "events")):
            eventually(partial(is_complete, admin, path, field, creator.acknowledged))


def is_complete(session: Session, path: str, field: str, patient_ids: list[str]) -> bool:
    """Returns whether a list has a resource for each patient. Fails if it has more than one."""
    counts = Counter(row["patientId"] for row in list_all(session, path, field))
    assert {counts[patient_id] for patient_id in patient_ids} <= {0, 1}
    return set(patient_ids) <= set(counts)
