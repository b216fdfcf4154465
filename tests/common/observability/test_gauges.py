"""Tests the gauges of the outbox, the consumer and the connection pool."""

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

from services.analytics.models import known_topics as analytics_topics
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

ReadGauge = Callable[[str], list[tuple[dict[str, Any], float]]]


@pytest.fixture(scope="session")
def read_gauge() -> ReadGauge:
    """Returns the values of a gauge of this process, with their attributes."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))

    def read_gauge(name: str) -> list[tuple[dict[str, Any], float]]:
        data: Any = reader.get_metrics_data()
        found = [
            metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
        ]
        points = [point for metric in found if metric.name == name for point in metric.data.data_points]
        return [(dict(point.attributes), point.value) for point in points]

    return read_gauge


def test_outbox_reports_waiting_events_and_their_age(
    background: Background, new_database: Callable[[str], str], read_gauge: ReadGauge
) -> None:
    url = new_database("patient")
    sql = Sql(background, url)

    def measure() -> tuple[float, float]:
        background.run(measure_outbox(url))
        [waiting], [age] = read_gauge("pulsetrack.outbox.waiting"), read_gauge("pulsetrack.outbox.age")
        assert waiting[0] == age[0] == {"pulsetrack.outbox.destination": IdleDestination.name}
        return waiting[1], age[1]

    assert measure() == (0, 0)
    for destination in (IdleDestination.name, IdleDestination.name, "elsewhere"):
        background.run(add_to_outbox(url, destination))
    sql("UPDATE outbox SET create_time = now() - interval '1 hour' WHERE id = 1")
    waiting, age = measure()
    assert (waiting, 3600 <= age < 3700) == (2, True)
    sql("UPDATE outbox SET delivered_time = now()")
    assert measure() == (0, 0)


def test_consumer_reports_its_lag(
    background: Background, broker: str, new_database: Callable[[str], str], read_gauge: ReadGauge
) -> None:
    topic = uuid4().hex
    publisher = Publisher(broker, topic)
    background.run(publisher.topic_id())
    background.run(publisher.publish([OutgoingMessage(key=str(number), value=b"", headers={}) for number in range(20)]))
    with background.during(run_blocked_consumer(new_database("analytics"), broker, topic)) as consumer:

        def measure(name: str) -> float:
            background.run(consumer.subscription.measure())
            [value] = [
                value for attributes, value in read_gauge(name) if attributes["messaging.destination.name"] == topic
            ]
            return value

        eventually(lambda: measure("pulsetrack.consumer.lag") == 20)
        eventually(lambda: measure("pulsetrack.consumer.age") > 0)
        background.run(consumer.unblock())
        eventually(lambda: measure("pulsetrack.consumer.lag") == 0)
        assert measure("pulsetrack.consumer.age") == 0


def test_consumer_without_its_broker_cannot_measure_lag(
    background: Background, own_broker: Broker, new_database: Callable[[str], str]
) -> None:
    topic = uuid4().hex
    background.run(Publisher(own_broker.address, topic).topic_id())
    with background.during(run_blocked_consumer(new_database("analytics"), own_broker.address, topic)) as consumer:
        eventually(consumer.subscription._consumer.assignment)
        own_broker.kill()
        with pytest.raises(DependencyUnavailable):
            background.run(consumer.subscription.measure())


def test_pool_reports_used_connections(
    background: Background, new_database: Callable[[str], str], read_gauge: ReadGauge
) -> None:
    background.run(measure_pool(new_database("billing")))
    found = {
        attributes["db.client.connection.state"]: value
        for attributes, value in read_gauge("db.client.connection.count")
    }
    assert found == {"used": 2, "idle": 0}
    assert [value for _, value in read_gauge("db.client.connection.max")] == [3]


class IdleDestination:
    """A destination whose relay does not run."""

    name = "idle"
    batch = 1

    async def find_incarnation(self) -> None:
        """Returns None: the destination has no incarnations."""

    async def deliver(self, rows: Sequence[Record]) -> Sequence[None]:
        """Accepts the rows."""
        return [None] * len(rows)


async def add_to_outbox(url: str, destination: str) -> None:
    event: dict[str, Any] = {"event_id": uuid4(), "key": "a key", "kind": "a type", "payload": b"a payload"}
    async with Database(url) as db, db.begin() as tx:
        Outbox(outbox_rows).add(tx, destinations=[destination], **event)


async def measure_outbox(url: str) -> None:
    outbox = Outbox(outbox_rows)
    async with Database(url) as db:
        outbox.relay(db, KnownTopics(known_topics), IdleDestination())
        await outbox.measure()


async def measure_pool(url: str) -> None:
    async with Database(url, connections=3) as db, db.begin(), db.begin():
        await db.measure()


@dataclass(frozen=True)
class BlockedConsumer:
    """A consumer whose handler blocks."""

    subscription: Subscription
    gate: asyncio.Event

    async def unblock(self) -> None:
        """Lets the handler continue."""
        self.gate.set()


@asynccontextmanager
async def run_blocked_consumer(url: str, kafka: str, topic: str) -> AsyncIterator[BlockedConsumer]:
    """Consumes a topic with a handler that blocks."""
    gate = asyncio.Event()

    async def handle(_: Sequence[Message]) -> None:
        await gate.wait()

    async with Database(url) as db:
        subscription = Subscription(kafka, topic, group=topic, db=db, known=KnownTopics(analytics_topics))
        task = asyncio.create_task(subscription.consume(handle))
        try:
            yield BlockedConsumer(subscription, gate)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
