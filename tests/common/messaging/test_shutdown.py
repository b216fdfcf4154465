"""A service process ends within 10 s while the broker is away."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.analytics.event_store import TOPIC
from services.common.messaging.producer import OutgoingMessage, Publisher
from tests.common.test_process import VALID_SETTINGS, build_arguments
from tests.harness.background import Background
from tests.harness.broker import Broker
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

pytestmark = pytest.mark.soak

ADD_EVENTS = f"""INSERT INTO outbox (destination, event_id, key, type, payload, traceparent)
    SELECT '{TOPIC}', gen_random_uuid(), number, 'type', '', '' FROM generate_series(1, 100000) AS of (number)"""

NewDatabase = Callable[[str], str]


@pytest.fixture
def mortal_broker(own_broker: Broker) -> Broker:
    """A running broker that the test kills."""
    own_broker.start()
    return own_broker


@contextmanager
def run_process(folder: Path, service: str, broker: Broker, database_url: str) -> Iterator[subprocess.Popen[str]]:
    """Runs a service process, without auth and billing."""
    settings = VALID_SETTINGS | {"database_url": database_url, "kafka": broker.address}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(**build_arguments(service, settings), stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def test_consumer_ends_after_the_broker_was_killed(
    background: Background, mortal_broker: Broker, new_database: NewDatabase, tmp_path: Path
) -> None:
    url = new_database("analytics")
    sql = Sql(background, url)
    publisher = Publisher(mortal_broker.address, TOPIC)
    background.run(publisher.topic_id())
    with run_process(tmp_path, "analytics", mortal_broker, url) as process:
        background.run(publisher.publish([OutgoingMessage("key", b"not an event", {})]))
        eventually(lambda: sql("SELECT 1 FROM dead_letters"))
        mortal_broker.kill()
        process.terminate()
        assert process.wait(10) == 0


def test_producer_ends_after_the_broker_was_killed(
    background: Background, mortal_broker: Broker, new_database: NewDatabase, tmp_path: Path
) -> None:
    url = new_database("patient")
    sql = Sql(background, url)
    sql(ADD_EVENTS)  # more than the process publishes before the broker is killed
    with run_process(tmp_path, "patient", mortal_broker, url) as process:
        eventually(lambda: sql("SELECT 1 FROM outbox WHERE delivered_time IS NOT NULL"))
        mortal_broker.kill()
        process.terminate()
        assert process.wait(10) == 0
