"""A whole system, as `make up` runs it, and the tools that people bring."""

import pytest

from tests.e2e.conftest import system
from tests.e2e.people import Person, a_patient
from tests.harness.waiting import eventually
from tools.copy import Copy

__all__ = ["system"]


@pytest.fixture(scope="session", autouse=True)
def consuming(system: Copy) -> None:
    """Waits until the system has been up for a while: analytics takes some seconds to join its group."""
    with Person.signed_up(system) as user:
        created = user.post("/v1/patients", a_patient())
        eventually(lambda: user.get("/v1/analytics/events", patientId=created["id"]).get("events"), seconds=60)
