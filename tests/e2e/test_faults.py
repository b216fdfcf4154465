"""A killed process loses no acknowledged patient or access event, and creates no duplicate accounts or events."""

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import uuid4

import httpx
import pytest

from tests.e2e.sessions import ADMIN_EMAIL, Session, a_patient, list_all, list_methods
from tests.harness.waiting import eventually
from tools.instance import Instance

PATIENTS = 200
KILL_AFTER = 50


def count_by_patient(session: Session, path: str, field: str) -> Counter[str]:
    """Counts the resources of a list by patient."""
    return Counter(row["patientId"] for row in list_all(session, path, field))


def create_during_kill(session: Session, instance: Instance, part: str) -> set[str]:
    """Creates patients while a process is killed, and returns the ids of acknowledged patients."""
    acknowledged: set[str] = set()
    rejections: set[str] = set()
    killed = threading.Event()

    def create(_: int) -> None:
        with suppress(httpx.TransportError):  # the gateway was killed
            response = session.rest.post("/v1/patients", json=a_patient())
            if response.is_success:
                acknowledged.add(response.json()["id"])
            else:
                rejections.add(response.json()["details"][0]["reason"])
        if len(acknowledged) >= KILL_AFTER and not killed.is_set():
            killed.set()
            os.kill(instance.state().processes[part].pid, signal.SIGKILL)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(create, range(PATIENTS)))
    assert killed.is_set()
    assert rejections <= {"DEPENDENCY_UNAVAILABLE"}
    return acknowledged


def test_instance_is_ready_only_after_a_killed_service_serves_again(expendable: Instance) -> None:
    expendable.wait_until_ready()
    os.kill(expendable.state().processes["auth"].pid, signal.SIGKILL)
    expendable.wait_until_ready()
    with Session.sign_up(expendable):
        pass


@pytest.mark.parametrize("part", ["patient", "billing", "broker", "analytics", "postgres", "auth", "gateway"])
def test_killed_process_loses_and_duplicates_no_acknowledged_patient(expendable: Instance, part: str) -> None:
    expendable.wait_until_ready()
    with Session.sign_up(expendable) as session:
        old = expendable.state().processes[part].pid
        acknowledged = create_during_kill(session, expendable, part)
        eventually(lambda: expendable.state().processes[part].pid != old)

        def is_settled() -> bool:
            try:
                accounts = count_by_patient(session, "/v1/billing/accounts", "billingAccounts")
                events = count_by_patient(session, "/v1/analytics/events", "events")
            except (httpx.HTTPStatusError, httpx.TransportError):
                return False  # the process has not restarted yet
            assert set(accounts.values()) | set(events.values()) <= {1}
            return acknowledged <= set(accounts) & set(events)

        eventually(is_settled, seconds=60)


def test_kill_loses_no_events_of_changes_or_of_reads_older_than_a_second(expendable: Instance) -> None:
    expendable.wait_until_ready()
    with Session.log_in(expendable, ADMIN_EMAIL, expendable.admin_password) as admin:
        read = [admin.post("/v1/patients", a_patient())["id"] for _ in range(10)]
        for patient_id in read:
            admin.get(f"/v1/patients/{patient_id}")
        time.sleep(1)
        written = [admin.post("/v1/patients", a_patient())["id"] for _ in range(10)]
        old = expendable.state().processes["patient"].pid
        os.kill(old, signal.SIGKILL)
        eventually(lambda: expendable.state().processes["patient"].pid != old)
        eventually(lambda: admin.rest.get(f"/v1/patients/{uuid4()}").status_code == 404)
        assert [list_methods(admin, patient_id) for patient_id in read] == [["CreatePatient", "GetPatient"]] * 10
        assert [list_methods(admin, patient_id) for patient_id in written] == [["CreatePatient"]] * 10
