"""The consumer: it continues after a stall, and ends while the broker is away."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Message

from services.analytics.models import known_topics
from services.common.errors import DependencyUnavailable
from services.common.messaging import consumer as consumers
from services.common.messaging.consumer import MemberFenced, Subscription
from services.common.messaging.producer import OutgoingMessage, Publisher
from services.common.messaging.topic import KnownTopics
from services.common.postgres.database import Database
from tests.harness.background import Background
from tests.harness.broker import Broker
from tests.harness.waiting import eventually


class Topic:
    """A topic with a random name."""

    def __init__(self, background: Background, kafka: str) -> None:
        self.kafka, self.name = kafka, f"topic-{uuid4()}"
        self._background = background
        self._publisher = Publisher(kafka, self.name)
        background.run(self._publisher.topic_id())

    def publish(self, value: bytes) -> None:
        """Publishes a message."""
        self._background.run(self._publisher.publish([OutgoingMessage(value, value, {})]))


class Handler:
    """Collects the values of messages. It can stall, as on a database that does not respond."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.partitions: set[int | None] = set()
        self.is_stalled = False
        self.attempts = 0

    async def handle(self, messages: Sequence[Message]) -> None:
        self.attempts += 1
        if self.is_stalled:
            raise DependencyUnavailable
        self.values += [message.value() or b"" for message in messages]
        self.partitions |= {message.partition() for message in messages}

    def watch_partitions(self) -> set[int | None]:
        """Returns a set that collects the partitions of messages from now on."""
        self.partitions = set()
        return self.partitions


@asynccontextmanager
async def consume(url: str, topic: Topic, handler: Handler, member_id: str = "") -> AsyncIterator[asyncio.Task[None]]:
    """Consumes a topic while the context is open."""
    async with Database(url) as db:
        subscription = Subscription(
            topic.kafka, topic.name, group="test", db=db, known=KnownTopics(known_topics), member_id=member_id
        )
        task = asyncio.create_task(subscription.consume(handler.handle))
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture(scope="module")
def analytics_url(new_database: Callable[[str], str]) -> str:
    """A database with the table of known topics."""
    return new_database("analytics")


@pytest.fixture
def topic(background: Background, own_broker: Broker) -> Topic:
    """A new topic."""
    return Topic(background, own_broker.address)


def test_stall_beyond_the_poll_interval_loses_no_event(
    background: Background, topic: Topic, analytics_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_SESSION_TIMEOUT_MS": 1000, "_HEARTBEAT_MS": 200, "_MAX_POLL_MS": 1000}.items():
        monkeypatch.setattr(consumers, name, value)
    handler = Handler()
    topic.publish(b"before")
    with background.during(consume(analytics_url, topic, handler)) as task:
        eventually(lambda: handler.values == [b"before"])
        handler.is_stalled = True
        topic.publish(b"during")
        eventually(lambda: handler.attempts > 1)
        time.sleep(1.5)  # longer than the poll interval
        handler.is_stalled = False
        eventually(lambda: b"during" in handler.values)
        topic.publish(b"after")
        eventually(lambda: b"after" in handler.values)
        assert not task.done()


def test_consumer_ends_while_the_broker_does_not_respond(
    background: Background, own_broker: Broker, topic: Topic, analytics_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "_CLOSE_SECONDS", 0.5)
    handler = Handler()
    topic.publish(b"first")
    with ExitStack() as stack, background.during(consume(analytics_url, topic, handler)):
        eventually(lambda: handler.values == [b"first"])
        handler.is_stalled = True
        topic.publish(b"second")
        eventually(lambda: handler.attempts > 1)
        stack.enter_context(own_broker.frozen())
        handler.is_stalled = False
        eventually(lambda: b"second" in handler.values)  # its commit does not complete


def test_fenced_consumer_that_is_stopped_while_it_waits_is_closed(
    background: Background, topic: Topic, analytics_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    closed: list[str] = []

    class RecordedConsumer(Consumer):
        """Records each consumer that is opened, and each that is closed."""

        def __init__(self, *settings: object) -> None:
            super().__init__(*settings)
            opened.append(f"consumer {len(opened)}")
            self.name = opened[-1]

        def close(self) -> None:
            super().close()
            closed.append(self.name)

    class FencedHandler(Handler):
        async def handle(self, messages: Sequence[Message]) -> None:
            raise MemberFenced

    monkeypatch.setattr(consumers, "Consumer", RecordedConsumer)
    topic.publish(b"first")
    with background.during(consume(analytics_url, topic, FencedHandler())):
        eventually(lambda: len(opened) == 2)
    assert closed == opened
