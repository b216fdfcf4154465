"""The system, once its events are consumed."""

import pytest

from tests.e2e.sessions import Session, a_patient
from tests.harness.waiting import eventually
from tools.instance import Instance


@pytest.fixture(scope="session", autouse=True)
def wait_for_analytics(system: Instance) -> None:
    """Waits until analytics consumes events. It needs several seconds to join its consumer group."""
    with Session.sign_up(system) as user:
        created = user.post("/v1/patients", a_patient())
        eventually(lambda: user.get("/v1/analytics/events", patientId=created["id"]).get("events"), seconds=60)
