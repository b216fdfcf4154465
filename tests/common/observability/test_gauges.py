"""What the gauges say: of the outbox, a consumer, a pool of connections."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from asyncpg import Record
from confluent_kafka import Message
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from services.analytics.models import known_topics as topics_of_analytics
from services.common.errors import DependencyUnavailable
from services.common.messaging.consumer import Subscription
from services.common.messaging.outbox import Outbox
from services.common.messaging.producer import OutgoingMessage, Publisher
from services.common.messaging.topic import KnownTopics
from services.common.postgres.database import Database
from services.patient.models import known_topics, outbox_rows
from tests.harness.background import Background
from tests.harness.broker import Broker
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

Numbers = Callable[[str], list[tuple[dict[str, Any], float]]]


@pytest.fixture(scope="session")
def numbers() -> Numbers:
    """Returns what a gauge of this process says, for each combination of attributes."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))

    def numbers(name: str) -> list[tuple[dict[str, Any], float]]:
        data: Any = reader.get_metrics_data()
        found = [metric for of in data.resource_metrics for scope in of.scope_metrics for metric in scope.metrics]
        points = [point for metric in found if metric.name == name for point in metric.data.data_points]
        return [(dict(point.attributes), point.value) for point in points]

    return numbers


def test_an_outbox_tells_how_much_waits_and_for_how_long(
    background: Background, new_database: Callable[[str], str], numbers: Numbers
) -> None:
    url = new_database("patient")
    sql = Sql(background, url)

    def measured() -> tuple[float, float]:
        background.run(measure_outbox(url))
        [waiting], [age] = numbers("pulsetrack.outbox.waiting"), numbers("pulsetrack.outbox.age")
        assert waiting[0] == age[0] == {"pulsetrack.outbox.destination": Nowhere.name}
        return waiting[1], age[1]

    assert measured() == (0, 0)
    for destination in (Nowhere.name, Nowhere.name, "elsewhere"):
        background.run(add_to_outbox(url, destination))
    sql("UPDATE outbox SET create_time = now() - interval '1 hour' WHERE id = 1")
    waiting, age = measured()
    assert (waiting, 3600 <= age < 3700) == (2, True)
    sql("UPDATE outbox SET delivered_time = now()")
    assert measured() == (0, 0)


def test_a_consumer_tells_how_far_it_is_behind(
    background: Background, broker: str, new_database: Callable[[str], str], numbers: Numbers
) -> None:
    topic = uuid4().hex
    publisher = Publisher(broker, topic)
    background.run(publisher.topic_id())
    background.run(publisher.publish([OutgoingMessage(key=str(number), value=b"", headers={}) for number in range(20)]))
    with background.during(holding(new_database("analytics"), broker, topic)) as held:

        def measured(name: str) -> float:
            background.run(held.subscription.measure())
            [value] = [value for of, value in numbers(name) if of["messaging.destination.name"] == topic]
            return value

        eventually(lambda: measured("pulsetrack.consumer.lag") == 20)
        eventually(lambda: measured("pulsetrack.consumer.age") > 0)
        background.run(held.let_go())
        eventually(lambda: measured("pulsetrack.consumer.lag") == 0)
        assert measured("pulsetrack.consumer.age") == 0


def test_a_consumer_without_its_broker_cannot_tell(
    background: Background, own_broker: Broker, new_database: Callable[[str], str]
) -> None:
    topic = uuid4().hex
    background.run(Publisher(own_broker.address, topic).topic_id())
    with background.during(holding(new_database("analytics"), own_broker.address, topic)) as held:
        eventually(held.subscription._consumer.assignment)
        own_broker.kill()
        with pytest.raises(DependencyUnavailable):
            background.run(held.subscription.measure())


def test_a_pool_tells_how_many_connections_are_used(
    background: Background, new_database: Callable[[str], str], numbers: Numbers
) -> None:
    background.run(measure_pool(new_database("billing")))
    found = {of["db.client.connection.state"]: value for of, value in numbers("db.client.connection.count")}
    assert found == {"used": 2, "idle": 0}
    assert [value for _, value in numbers("db.client.connection.max")] == [3]


class Nowhere:
    """A destination whose relay does not run."""

    name = "nowhere"
    batch = 1

    async def find_incarnation(self) -> None:
        """Has none."""

    async def deliver(self, rows: Sequence[Record]) -> Sequence[None]:
        """Takes the rows."""
        return [None] * len(rows)


async def add_to_outbox(url: str, destination: str) -> None:
    event: dict[str, Any] = {"event_id": uuid4(), "key": "a key", "kind": "a type", "payload": b"a payload"}
    async with Database(url) as db, db.begin() as tx:
        await Outbox(outbox_rows).add(tx, destinations=[destination], **event)


async def measure_outbox(url: str) -> None:
    outbox = Outbox(outbox_rows)
    async with Database(url) as db:
        outbox.relay(db, KnownTopics(known_topics), Nowhere())
        await outbox.measure()


async def measure_pool(url: str) -> None:
    async with Database(url, connections=3) as db, db.begin(), db.begin():
        await db.measure()


@dataclass(frozen=True)
class Held:
    """A consumer that is held up in dealing with what it read."""

    subscription: Subscription
    gate: asyncio.Event

    async def let_go(self) -> None:
        """Holds it up no longer."""
        self.gate.set()


@asynccontextmanager
async def holding(url: str, kafka: str, topic: str) -> AsyncIterator[Held]:
    """Consumes a topic, and holds the consumer up."""
    gate = asyncio.Event()

    async def handle(_: Sequence[Message]) -> None:
        await gate.wait()

    async with Database(url) as db:
        subscription = Subscription(kafka, topic, group=topic, db=db, known=KnownTopics(topics_of_analytics))
        task = asyncio.create_task(subscription.consume(handle))
        try:
            yield Held(subscription, gate)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
