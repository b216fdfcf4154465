"""Kafka: publishing to a topic and consuming from it, also with a broker that comes back without its memory.

A topic's id (KIP-516) names one life of the topic. The embedded broker keeps nothing on disk: after its restart the
topic is created anew, with another id, and what was in it is published again. Apache Kafka keeps its topics' ids.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from opentelemetry.trace import SpanKind
from sqlalchemy import Column, MetaData, Table, Text, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from services.common.errors import DependencyUnavailable
from services.common.messaging import lag
from services.common.observability.tracing import messaging_attributes, start_spans, validate_traceparent
from services.common.postgres.database import Database, Statement, Transaction
from services.common.retry import persistently

PARTITIONS = 6
_TIMEOUT_SECONDS = 5
_BATCH = 500
_CHECK_SECONDS = 2.0

_log = logging.getLogger(__name__)

Handle = Callable[[Sequence[Message]], Awaitable[None]]
"""Deals with a batch of messages."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be published."""

    key: str | bytes
    value: bytes
    headers: Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]]
    traceparent: str = ""
    """The trace that it belongs to, which becomes a header; none if it is empty."""


class MessageTooLarge(Exception):  # noqa: N818 - named as Kafka names it
    """Occurs when a message is larger than the producer or the broker takes: to try again would not help."""


class Topic:
    """A topic as the broker has it."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.name = name
        self._admin = AdminClient(_client(bootstrap))

    def id(self, *, create: bool = False) -> str | None:
        """Returns the id of the topic's present life, None if there is no such topic and it is not to be created.

        Blocks. Raises DependencyUnavailable.
        """
        try:
            try:
                return self._described()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
                if not create:
                    return None
            self._create()
            return self._described()
        except (KafkaException, TimeoutError) as error:
            raise DependencyUnavailable from error

    def _described(self) -> str:
        described = self._admin.describe_topics(TopicCollection([self.name]), request_timeout=_TIMEOUT_SECONDS)
        return str(described[self.name].result(_TIMEOUT_SECONDS).topic_id)

    def _create(self) -> None:
        created = self._admin.create_topics([NewTopic(self.name, PARTITIONS)], request_timeout=_TIMEOUT_SECONDS)
        try:
            created[self.name].result(_TIMEOUT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


class Publisher:
    """Publishes to one topic, each message acknowledged by all replicas in sync."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = Topic(bootstrap, topic)
        self._producer: Producer | None = None
        self._attributes = messaging_attributes(topic, "send")

    async def topic_id(self) -> str:
        """Creates the topic if it is missing and returns its id. Raises DependencyUnavailable."""
        return await asyncio.to_thread(self._topic.id, create=True) or ""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publishes messages in order and returns when all are acknowledged.

        Raises DependencyUnavailable or MessageTooLarge if any is not: then some may have been published.
        """
        parents = [message.traceparent for message in messages]
        name = f"send {self._topic.name}"
        with start_spans(name, SpanKind.PRODUCER, self._attributes, parents=parents) as traceparents:
            await asyncio.to_thread(self._publish, messages, traceparents)

    def _publish(self, messages: Sequence[Outgoing], traceparents: Sequence[str]) -> None:
        producer = self._producer or self._new_producer()
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error:
                errors.append(error)

        try:
            for message, traceparent in zip(messages, traceparents, strict=True):
                headers = _headers(message, traceparent)
                producer.produce(self._topic.name, message.value, message.key, headers=headers, on_delivery=delivered)
            left = producer.flush(_TIMEOUT_SECONDS + 1)
        except (BufferError, KafkaException) as error:
            self._drop_producer()
            raise _failure(error) from error
        if errors or left:
            # An idempotent producer does not outlive the broker's memory of it: begin again with a new one.
            self._drop_producer()
            first = KafkaException(errors[0] if errors else KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            raise _failure(first) from first

    def _new_producer(self) -> Producer:
        self._producer = Producer(
            _client(self._bootstrap)
            | {"enable.idempotence": True, "linger.ms": 0, "message.timeout.ms": _TIMEOUT_SECONDS * 1000}
        )
        return self._producer

    def _drop_producer(self) -> None:
        if self._producer:
            self._producer.purge()
        self._producer = None


class KnownTopics:
    """Remembers in the service's database which life of a topic it has dealt with."""

    def __init__(self, table: Table) -> None:
        """Takes the table that topics_table made."""
        self._get = Statement(select(table.c.topic_id).where(table.c.name == bindparam("name")))
        put = insert(table).values(name=bindparam("name"), topic_id=bindparam("topic_id"))
        self._put = Statement(
            put.on_conflict_do_update(index_elements=[table.c.name], set_={"topic_id": put.excluded.topic_id})
        )

    async def id_of(self, db: Database | Transaction, name: str) -> str | None:
        """Returns the id of the last life that is remembered."""
        row = await db.row(self._get, name=name)
        return row["topic_id"] if row else None

    async def remember(self, db: Database | Transaction, name: str, topic_id: str) -> None:
        """Remembers that this life was dealt with."""
        await db.row(self._put, name=name, topic_id=topic_id)


def topics_table(metadata: MetaData) -> Table:
    """Adds the table that KnownTopics needs to a service's tables."""
    return Table("topics", metadata, Column("name", Text, primary_key=True), Column("topic_id", Text, nullable=False))


class Subscription:
    """Consumes a topic as a member of a group: each message at least once, its offset committed after it is handled."""

    def __init__(self, bootstrap: str, topic: str, *, group: str, db: Database, known: KnownTopics) -> None:
        self._topic = Topic(bootstrap, topic)
        self._db = db
        self._known = known
        self._consumer = Consumer(
            _client(bootstrap)
            | {
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 1000,
                "fetch.wait.max.ms": 50,
                "topic.metadata.refresh.interval.ms": 1000,
            }
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="consumer")  # one: a consumer is not for two at a time
        self._checked = float("-inf")
        self._topic_id: str | None = None
        self._under_way: Sequence[Message] = []
        self._group = {"messaging.destination.name": topic, "messaging.consumer.group.name": group}
        self._attributes = messaging_attributes(topic, "process") | self._group

    async def consume(self, handle: Handle) -> None:
        """Hands batches of messages over until it is cancelled.

        The handler deals with a batch in one transaction. When it raises DependencyUnavailable it is called again.
        """
        loop = asyncio.get_running_loop()
        self._consumer.subscribe([self._topic.name])
        try:
            while True:
                await self._begin_anew_with_the_topic()
                if messages := await loop.run_in_executor(self._thread, self._poll):
                    self._under_way = messages
                    await persistently(partial(self._handle, handle, messages), what="handling events")
                    self._under_way = []
                    self._consumer.commit(asynchronous=True)
        finally:
            await asyncio.shield(loop.run_in_executor(self._thread, self._consumer.close))

    async def measure(self) -> None:
        """Sets the gauges of how far it is behind. Raises DependencyUnavailable."""
        measure = partial(lag.measure, self._consumer, self._under_way, self._group)
        await asyncio.get_running_loop().run_in_executor(self._thread, measure)

    async def _handle(self, handle: Handle, messages: Sequence[Message]) -> None:
        name, parents = f"process {self._topic.name}", [_traceparent(message) for message in messages]
        with start_spans(name, SpanKind.CONSUMER, self._attributes, parents=parents):
            await handle(messages)

    def _poll(self) -> list[Message]:
        first = self._consumer.poll(0.5)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(_BATCH - 1, 0)]
        for error in filter(None, (message.error() for message in messages)):
            _log.warning("cannot consume: %s", error)
        return [message for message in messages if not message.error()]

    async def _begin_anew_with_the_topic(self) -> None:
        """Goes back to the beginning when the topic began a new life, in which old offsets mean nothing."""
        if time.monotonic() - self._checked < _CHECK_SECONDS or not (assigned := self._consumer.assignment()):
            return
        self._checked = time.monotonic()
        try:
            topic_id = await asyncio.to_thread(self._topic.id)
            # What this process has read goes before what another one has remembered.
            known = self._topic_id or await self._known.id_of(self._db, self._topic.name)
            if topic_id is not None and topic_id != known:
                if known:
                    _log.warning("the topic began a new life: reading it from its beginning")
                    for partition in assigned:
                        self._consumer.seek(TopicPartition(self._topic.name, partition.partition, OFFSET_BEGINNING))
                await self._known.remember(self._db, self._topic.name, topic_id)
            self._topic_id = topic_id or known
        except (DependencyUnavailable, KafkaException) as error:
            _log.warning("cannot look at the topic: %s", error.__cause__ or error)


def _headers(message: Outgoing, traceparent: str) -> list[tuple[str, str | bytes | None]]:
    headers = message.headers.items() if isinstance(message.headers, Mapping) else message.headers
    return [*headers, *([("traceparent", traceparent)] if traceparent else [])]


def _traceparent(message: Message) -> str:
    """Returns the trace that a message belongs to, "" if its header names none."""
    headers: Any = message.headers() or ()
    return next(
        (
            validate_traceparent(str(value or b"", "ascii", "replace"))
            for name, value in headers
            if name == "traceparent"
        ),
        "",
    )


def _failure(error: BufferError | KafkaException) -> Exception:
    """Returns what a caller is told about an error of the producer."""
    if isinstance(error, KafkaException) and error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return MessageTooLarge()
    return DependencyUnavailable()


def _client(bootstrap: str) -> dict[str, Any]:
    scheme, _, servers = bootstrap.rpartition("://")
    return {
        "bootstrap.servers": servers,
        "security.protocol": scheme or "plaintext",
        "log.connection.close": False,
        "reconnect.backoff.max.ms": 1000,
        "logger": _log,
    }
