"""A killed process loses no acknowledged patient, and creates no duplicate accounts or events."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from tests.e2e.sessions import Session, a_patient, list_all
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance

PATIENTS = 200
KILL_AFTER = 50


@pytest.fixture(scope="module")
def own_instance(new_folder: NewFolder) -> Iterator[Instance]:
    """An instance whose processes are killed."""
    with run_instance(new_folder("own_instance"), PULSETRACK_RATE_LIMITS="off") as instance:
        yield instance


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


@pytest.mark.parametrize("part", ["patient", "billing", "broker", "analytics", "postgres", "auth", "gateway"])
def test_killed_process_loses_and_duplicates_no_acknowledged_patient(own_instance: Instance, part: str) -> None:
    eventually(lambda: httpx.get(f"{own_instance.url}/.well-known/jwks.json").is_success)
    with Session.sign_up(own_instance) as session:
        old = own_instance.state().processes[part].pid
        acknowledged = create_during_kill(session, own_instance, part)
        eventually(lambda: own_instance.state().processes[part].pid != old)

        def is_settled() -> bool:
            try:
                accounts = count_by_patient(session, "/v1/billing/accounts", "billingAccounts")
                events = count_by_patient(session, "/v1/analytics/events", "events")
            except (httpx.HTTPStatusError, httpx.TransportError):
                return False  # the process has not restarted yet
            assert set(accounts.values()) | set(events.values()) <= {1}
            return acknowledged <= set(accounts) & set(events)

        eventually(is_settled, seconds=60)


def test_restart_preserves_data_and_sessions(new_folder: NewFolder) -> None:
    folder = new_folder("restarted")
    with run_instance(folder) as instance, Session.sign_up(instance) as session:
        created = session.post("/v1/patients", a_patient())
        token, refresh_token = session.token, session.refresh_token
        assert instance.stop() == 0
    with run_instance(folder) as instance, Session.open(instance, token) as session:
        assert session.get(f"/v1/patients/{created['id']}") == created
        session.post("/v1/auth/refresh", {"refreshToken": refresh_token})
        again = Session.log_in(instance, "admin@pulsetrack.local", instance.admin_password)
        with again as admin:
            assert admin.get("/v1/auth/me")["role"] == "ROLE_ADMIN"
        eventually(lambda: session.get("/v1/analytics/events", patientId=created["id"]).get("events"))
        eventually(lambda: session.get("/v1/billing/accounts", patientId=created["id"]).get("billingAccounts"))
