"""A PulseTrack instance that exports spans and metrics to a receiver."""

from collections.abc import Iterator

import pytest

from tests.e2e.sessions import Session
from tests.harness.otlp import Receiver, run_receiver
from tests.harness.system import NewFolder
from tools.instance import Instance, run_instance

SHORT_INTERVALS = {"OTEL_METRIC_EXPORT_INTERVAL": "500", "OTEL_BSP_SCHEDULE_DELAY": "200"}
"""Export intervals of the SDK in milliseconds, shorter than the defaults."""


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    with run_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def system(new_folder: NewFolder, receiver: Receiver) -> Iterator[Instance]:
    folder = new_folder("observed")
    with run_instance(
        folder, PULSETRACK_OTLP_ENDPOINT=receiver.address, PULSETRACK_RATE_LIMITS="off", **SHORT_INTERVALS
    ) as instance:
        yield instance


@pytest.fixture(scope="session")
def user(system: Instance) -> Iterator[Session]:
    """A user who has signed up."""
    with Session.sign_up(system) as session:
        yield session
