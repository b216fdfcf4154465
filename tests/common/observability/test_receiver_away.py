"""A receiver that is away: no call fails, no log grows with the calls, and what comes later is sent."""

from pathlib import Path

from deploy.settings import HOST
from tests.common.observability.conftest import SOON
from tests.e2e.sessions import Session, a_patient
from tests.harness.otlp import run_receiver
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tools.instance import run_instance
from tools.ports import free_port

CALLS = 200


def test_a_receiver_that_is_away_is_missed_by_nobody(new_folder: NewFolder) -> None:
    port = free_port()
    with run_instance(
        new_folder("away"), PULSETRACK_OTLP_ENDPOINT=f"{HOST}:{port}", PULSETRACK_RATE_LIMITS="off", **SOON
    ) as copy:
        with Session.sign_up(copy) as user:
            for _ in range(CALLS):
                user.post("/v1/patients", a_patient())
            lines = [line for log in (copy.folder / "logs").glob("*.log") for line in told(log)]
            with run_receiver(port) as receiver:
                user.post("/v1/patients", a_patient())
                services = {"gateway", "patient", "billing", "analytics"}
                eventually(lambda: services <= {span.service for span in receiver.spans})
                eventually(lambda: receiver.points)
        assert copy.stop() == 0
    assert len(lines) < CALLS, lines  # each process tells of its own tries, as time goes by


def told(log: Path) -> list[str]:
    """Returns what a log says, without the calls themselves."""
    return log.read_text(encoding="utf-8").splitlines() if log.name != "access.log" else []
