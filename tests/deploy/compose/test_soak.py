"""What is promised when containers die under load: nothing acknowledged is lost, and nothing is there twice."""

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
logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write a line for each call

A_SECOND = 20
SECONDS = 20
KILL_AFTER = 5
PATIENCE = 180


def create(session: Session) -> str:
    """Creates a patient, asking again with the same request id for as long as need be, and returns its id."""
    patient, request_id = a_patient(), str(uuid4())
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        with suppress(httpx.TransportError):  # what the gateway's own death looks like
            answer = session.rest.post("/v1/patients", json=patient, params={"requestId": request_id})
            if answer.is_success:
                return str(answer.json()["id"])
            assert answer.json()["details"][0]["reason"] == "DEPENDENCY_UNAVAILABLE"
        time.sleep(0.5)
    raise AssertionError(f"not created within {PATIENCE} s")


def create_while_it_dies(system: Stack, session: Session, service: str) -> list[str]:
    """Creates patients at a steady rate, kills a container meanwhile, and returns the ids that were acknowledged."""
    killer = threading.Timer(KILL_AFTER, system.crash, [service])
    begin = time.monotonic()
    with ThreadPoolExecutor(100) as threads:
        killer.start()
        asked: list[Future[str]] = []
        for number in range(A_SECOND * SECONDS):
            time.sleep(max(0.0, begin + number / A_SECOND - time.monotonic()))
            asked.append(threads.submit(create, session))
        acknowledged = [future.result() for future in asked]
    killer.join()
    return acknowledged


@pytest.mark.parametrize("service", SERVERS)
def test_a_container_is_killed_while_patients_are_created(system: Stack, service: str) -> None:
    system.until_healed(service)
    with Session.create_user(system) as session:
        acknowledged = create_while_it_dies(system, session, service)
        system.until_healed(service)
        assert len(set(acknowledged)) == A_SECOND * SECONDS

        def rows(path: str, field: str) -> Counter[str]:
            return Counter(row["patientId"] for row in list_all(session, path, field))

        def settled() -> bool:
            time.sleep(1)
            accounts = rows("/v1/billing/accounts", "billingAccounts")
            events = rows("/v1/analytics/events", "events")
            assert set(accounts.values()) | set(events.values()) <= {1}
            return set(acknowledged) <= set(accounts) & set(events)

        begin = time.monotonic()
        eventually(settled, seconds=60)
        _log.info("%s: settled %.1f s after the return", service, time.monotonic() - begin)
        kept = Counter(row["email"] for row in list_all(session, "/v1/patients", "patients"))
        assert set(kept.values()) == {1}
        assert len(kept) == len(rows("/v1/billing/accounts", "billingAccounts"))
