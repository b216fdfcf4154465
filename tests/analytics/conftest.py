"""An analytics server with its consumer, its clients, and a publisher. All tests share one database."""

from collections.abc import Callable, Iterator
from functools import partial

import grpc
import pytest

from gen.pulsetrack.patient.v1 import PatientEvent
from services.common.messaging.producer import OutgoingMessage, Publisher
from services.patient.changes import TOPIC
from tests.analytics.factory import build_message
from tests.conftest import Serve
from tests.harness.background import Background
from tests.harness.client import Client
from tests.harness.delivery import run_consumer
from tests.harness.services import serve_service
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually


@pytest.fixture(scope="session")
def service_name() -> str:
    return "analytics"


@pytest.fixture(scope="session")
def database_url(new_database: Callable[[str], str], service_name: str) -> str:
    return new_database(service_name)


@pytest.fixture(scope="session")
def serve() -> Serve:
    return partial(serve_service, "analytics")


@pytest.fixture(scope="session")
def publish(background: Background, broker: str) -> Callable[..., None]:
    """Publishes messages in order."""
    publisher = Publisher(broker, TOPIC)
    background.run(publisher.topic_id())

    def publish(*messages: OutgoingMessage) -> None:
        background.run(publisher.publish(messages))

    return publish


@pytest.fixture(scope="session")
def consumer(background: Background, broker: str, database_url: str, publish: Callable[..., None]) -> Iterator[None]:
    """Runs the consumer. Starts after the topic has been created."""
    with background.during(run_consumer(database_url, broker)):
        yield


@pytest.fixture
def store_events(publish: Callable[..., None], consumer: None, sql: Sql) -> Callable[..., None]:
    """Publishes events and waits until they are stored."""

    def store_events(*events: PatientEvent) -> None:
        publish(*map(build_message, events))
        ids = list({event.event_id for event in events})
        stored = "SELECT FROM events WHERE event_id = ANY($1::uuid[])"
        eventually(lambda: len(sql(stored, ids)) == len(ids))

    return store_events


@pytest.fixture(scope="module")
def analytics(grpc_channel: grpc.Channel, signer: Signer) -> Client:
    """A client with the role USER."""
    return Client(grpc_channel, "analytics", signer.long_lived_token("USER"))


@pytest.fixture(scope="module")
def admin(analytics: Client, signer: Signer) -> Client:
    """A client with the role ADMIN."""
    return analytics.with_token(signer.long_lived_token("ADMIN"))


@pytest.fixture
def create_dead_letter(publish: Callable[..., None], consumer: None, sql: Sql) -> Callable[[OutgoingMessage], str]:
    """Publishes a message that cannot be stored, and returns the id of its dead letter."""

    def create_dead_letter(message: OutgoingMessage) -> str:
        publish(message)
        query = "SELECT id::text FROM dead_letters WHERE value = $1"
        return str(eventually(lambda: sql(query, message.value))[0]["id"])

    return create_dead_letter
