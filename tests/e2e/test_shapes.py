"""The local system with several workers, and with external servers."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.e2e.sessions import Session, a_patient
from tests.harness.broker import Broker
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance
from tools.local.postgres import Postgres


def check_journey(instance: Instance) -> None:
    """Signs up, creates a patient, and waits for its account and event."""
    with Session.sign_up(instance) as session:
        created = session.post("/v1/patients", a_patient())["id"]
        eventually(lambda: session.get("/v1/billing/accounts", patientId=created).get("billingAccounts"))
        eventually(lambda: session.get("/v1/analytics/events", patientId=created).get("events"))


@pytest.mark.soak
def test_remaining_workers_serve_when_one_of_each_service_is_killed(new_folder: NewFolder) -> None:
    with run_instance(new_folder("workers"), PULSETRACK_WORKERS="2") as instance:
        for worker in ("auth", "billing", "patient", "analytics"):
            os.kill(instance.state().processes[worker].pid, signal.SIGKILL)
        eventually(lambda: httpx.get(f"{instance.url}/.well-known/jwks.json").is_success)
        check_journey(instance)


def test_system_uses_an_external_postgres_and_kafka(tmp_path: Path, postgres: Postgres, own_broker: Broker) -> None:
    with run_instance(
        tmp_path / "data", PULSETRACK_DATABASE_URL=postgres.url(), PULSETRACK_KAFKA=own_broker.address
    ) as instance:
        assert {"postgres", "broker"}.isdisjoint(instance.state().processes)
        check_journey(instance)
