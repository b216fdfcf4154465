"""Tests that an unavailable receiver affects neither calls nor logs, and that export resumes."""

import pytest

from deploy.settings import HOST
from tests.common.observability.conftest import SHORT_INTERVALS
from tests.e2e.sessions import Session, a_patient
from tests.harness.otlp import run_receiver
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance
from tools.ports import free_port

CALLS = 200


@pytest.mark.soak
def test_unavailable_receiver_does_not_affect_calls(new_folder: NewFolder) -> None:
    port = free_port()
    with run_instance(
        new_folder("away"), PULSETRACK_OTLP_ENDPOINT=f"{HOST}:{port}", PULSETRACK_RATE_LIMITS="off", **SHORT_INTERVALS
    ) as instance:
        with Session.sign_up(instance) as user:
            before = count_lines(instance)
            for _ in range(CALLS):
                user.post("/v1/patients", a_patient())
            added = count_lines(instance) - before
            with run_receiver(port) as receiver:
                user.post("/v1/patients", a_patient())
                services = {"gateway", "patient", "billing", "analytics"}
                eventually(lambda: services <= {span.service for span in receiver.spans})
                eventually(lambda: receiver.points)
        assert instance.stop() == 0
    assert added < CALLS / 4  # each process logs its attempts at a fixed interval


def count_lines(instance: Instance) -> int:
    """Returns the number of lines in all logs except the access log."""
    logs = [log for log in (instance.folder / "logs").glob("*.log") if log.name != "access.log"]
    return sum(len(log.read_text(encoding="utf-8").splitlines()) for log in logs)
