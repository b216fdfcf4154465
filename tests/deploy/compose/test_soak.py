"""Guarantees when containers are killed under load: acknowledged writes are neither lost nor duplicated."""

import logging
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from uuid import uuid4

import httpx
import pytest

from tests.deploy.compose.stack import SERVERS, Stack
from tests.e2e.sessions import Session, a_patient, list_all
from tests.harness.waiting import eventually

_log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # logs every call otherwise

A_SECOND = 20
SECONDS = 20
KILL_AFTER = 5
PATIENCE = 180
RETRYABLE = {"DEPENDENCY_UNAVAILABLE", "CALL_TOO_SLOW"}


def create(session: Session) -> str:
    """Creates a patient, with retries with the same request id, and returns its id."""
    patient, request_id = a_patient(), str(uuid4())
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        with suppress(httpx.TransportError):  # raised while the gateway is down
            response = session.rest.post("/v1/patients", json=patient, params={"requestId": request_id})
            if response.is_success:
                return str(response.json()["id"])
            assert response.json()["details"][0]["reason"] in RETRYABLE
        time.sleep(0.5)
    raise AssertionError(f"not created within {PATIENCE} s")


def create_during_kill(system: Stack, session: Session, service: str) -> list[str]:
    """Creates patients at a fixed rate while a container is killed, and returns the acknowledged ids."""
    killer = threading.Timer(KILL_AFTER, system.crash, [service])
    begin = time.monotonic()
    with ThreadPoolExecutor(100) as threads:
        killer.start()
        futures: list[Future[str]] = []
        for number in range(A_SECOND * SECONDS):
            time.sleep(max(0.0, begin + number / A_SECOND - time.monotonic()))
            futures.append(threads.submit(create, session))
        acknowledged = [future.result() for future in futures]
    killer.join()
    return acknowledged


@pytest.mark.parametrize("service", SERVERS)
def test_acknowledged_patients_survive_the_kill_of_a_container(system: Stack, service: str) -> None:
    system.wait_until_healthy(service)
    with Session.create_user(system) as session:
        acknowledged = create_during_kill(system, session, service)
        system.wait_until_healthy(service)
        assert len(set(acknowledged)) == A_SECOND * SECONDS

        def count_rows(path: str, field: str) -> Counter[str]:
            return Counter(row["patientId"] for row in list_all(session, path, field))

        def is_settled() -> bool:
            time.sleep(1)
            accounts = count_rows("/v1/billing/accounts", "billingAccounts")
            events = count_rows("/v1/analytics/events", "events")
            assert set(accounts.values()) | set(events.values()) <= {1}
            return set(acknowledged) <= set(accounts) & set(events)

        begin = time.monotonic()
        eventually(is_settled, seconds=60)
        _log.info("%s: settled %.1f s after the recovery", service, time.monotonic() - begin)
        stored = Counter(row["email"] for row in list_all(session, "/v1/patients", "patients"))
        assert set(stored.values()) == {1}
        assert len(stored) == len(count_rows("/v1/billing/accounts", "billingAccounts"))
