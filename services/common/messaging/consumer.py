"""Consuming a Kafka topic, also from a broker that lost the topic in a restart."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from opentelemetry import metrics
from opentelemetry.trace import SpanKind

from services.common.errors import DependencyUnavailable
from services.common.messaging.topic import KnownTopics, Topic, client_config
from services.common.observability.tracing import messaging_attributes, start_spans, validate_traceparent
from services.common.postgres.database import Database
from services.common.retry import retry_while_unavailable

Handle = Callable[[Sequence[Message]], Awaitable[None]]
"""Handles a batch of messages in one transaction. Raises DependencyUnavailable to receive the batch again."""

_BATCH = 500
_SESSION_TIMEOUT_MS, _HEARTBEAT_MS = 6_000, 1_000
_STATIC_SESSION_TIMEOUT_MS = 20_000
"""The time in which a static member may restart before the broker gives its partitions to another member."""
_MAX_POLL_MS = 300_000
"""How long handling a batch may take before the broker gives the partitions to another member."""
_CHECK_SECONDS = 2.0
_CLOSE_SECONDS = 5.0
"""How long a consumer may take to leave its group. Without a limit, it would wait for a broker that is away."""
_FENCED_SECONDS = 60.0
"""How long a process waits after another has taken its member id. In an upgrade, it is stopped within this time."""
_MEASURE_TIMEOUT_SECONDS = 1

_log = logging.getLogger(__name__)
_meter = metrics.get_meter("pulsetrack")
_lag = _meter.create_gauge(
    "pulsetrack.consumer.lag", unit="{message}", description="Messages that the consumer has not handled yet."
)
_age = _meter.create_gauge(
    "pulsetrack.consumer.age", unit="s", description="The age of the oldest message that the consumer is handling."
)


class MemberFenced(Exception):  # noqa: N818 - the term in Kafka
    """Raised when another process has joined the group with the same member id."""


class Subscription:
    """Consumes a topic as a member of a consumer group, at least once.

    The offset of a message is committed after the message is handled. A member id makes the process a static member: if
    a process with the same id joins within 20 seconds after it, or beside it, that process receives its partitions, and
    the other members keep theirs.
    """

    def __init__(
        self, bootstrap: str, topic: str, *, group: str, db: Database, known: KnownTopics, member_id: str = ""
    ) -> None:
        self._bootstrap, self._group_id = bootstrap, group
        self._topic = Topic(bootstrap, topic)
        self._db = db
        self._known = known
        self._consumer = self._open_consumer(member_id)
        # A single thread, because a consumer does not support concurrent calls.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="consumer")
        self._checked = float("-inf")
        self._incarnation: str | None = None
        self._in_progress: Sequence[Message] = []
        self._group = {"messaging.destination.name": topic, "messaging.consumer.group.name": group}
        self._attributes = messaging_attributes(topic, "process") | self._group

    async def consume(self, handle: Handle) -> None:
        """Passes batches of messages to the handler until it is cancelled."""
        try:
            await self._consume(handle)
        except MemberFenced:
            # The other process may be a replacement that is about to be removed because it does not become ready.
            _log.warning("another process has joined with this member id: joining without it in %d s", _FENCED_SECONDS)
            await self._close()
            self._consumer = self._open_consumer()
            await asyncio.sleep(_FENCED_SECONDS)
            await self._consume(handle)
        finally:
            await self._close()

    async def _consume(self, handle: Handle) -> None:
        """Passes batches of messages to the handler. Raises MemberFenced."""
        loop = asyncio.get_running_loop()
        self._consumer.subscribe([self._topic.name])
        while True:
            await self._follow_topic()
            if messages := await loop.run_in_executor(self._thread, self._poll):
                self._in_progress = messages
                await retry_while_unavailable(partial(self._handle, handle, messages), activity="handling events")
                self._in_progress = []
                self._commit()

    async def measure(self) -> None:
        """Sets the gauges of lag and age. Raises DependencyUnavailable."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._measure)

    async def _handle(self, handle: Handle, messages: Sequence[Message]) -> None:
        name, parents = f"process {self._topic.name}", [_find_traceparent(message) for message in messages]
        with start_spans(name, SpanKind.CONSUMER, self._attributes, parents=parents):
            await handle(messages)

    def _poll(self) -> list[Message]:
        first = self._consumer.poll(0.5)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(_BATCH - 1, 0)]
        for error in filter(None, (message.error() for message in messages)):
            _raise_if_fenced(error)
            _log.warning("cannot consume: %s", error)
        return [message for message in messages if not message.error()]

    def _commit(self) -> None:
        try:
            self._consumer.commit(asynchronous=True)
        except KafkaException as error:
            # The messages are received again, by this process or another.
            _raise_if_fenced(error.args[0])
            _log.warning("cannot commit: %s", error.args[0])

    def _open_consumer(self, member_id: str = "") -> Consumer:
        membership = (
            {"group.instance.id": member_id, "session.timeout.ms": _STATIC_SESSION_TIMEOUT_MS}
            if member_id
            else {"session.timeout.ms": _SESSION_TIMEOUT_MS}
        )
        return Consumer(
            client_config(self._bootstrap)
            | membership
            | {
                "group.id": self._group_id,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "heartbeat.interval.ms": _HEARTBEAT_MS,
                "max.poll.interval.ms": _MAX_POLL_MS,
                "fetch.wait.max.ms": 50,
                "topic.metadata.refresh.interval.ms": 1000,
            }
        )

    async def _close(self) -> None:
        def close() -> None:
            # A daemon thread, for which the process does not wait at its end.
            closing = threading.Thread(target=self._consumer.close, name="closing consumer", daemon=True)
            closing.start()
            closing.join(_CLOSE_SECONDS)

        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, close))

    async def _follow_topic(self) -> None:
        """Seeks to the beginning when the topic has a new incarnation, for which committed offsets are meaningless."""
        if time.monotonic() - self._checked < _CHECK_SECONDS or not (assigned := self._consumer.assignment()):
            return
        self._checked = time.monotonic()
        try:
            current = await asyncio.to_thread(self._topic.find_id)
            # The incarnation that this process reads takes precedence over the one that another process has stored.
            known = self._incarnation or await self._known.find_incarnation(self._db, self._topic.name)
            if current is not None and current != known:
                if known:
                    _log.warning("the topic has a new incarnation: reading it from its beginning")
                    for partition in assigned:
                        self._consumer.seek(TopicPartition(self._topic.name, partition.partition, OFFSET_BEGINNING))
                await self._known.store_incarnation(self._db, self._topic.name, current)
            self._incarnation = current or known
        except (DependencyUnavailable, KafkaException) as error:
            _log.warning("cannot look up the topic: %s", error.__cause__ or error)

    def _measure(self) -> None:
        """Sets the gauges for the assigned partitions.

        The end of a partition comes from the last fetch response: the embedded broker returns a different value when
        it is queried for the end offset.
        """
        try:
            committed = self._consumer.committed(self._consumer.assignment(), _MEASURE_TIMEOUT_SECONDS)
            partitions = [(p.offset, *self._consumer.get_watermark_offsets(p, cached=True)) for p in committed]
        except KafkaException as error:
            raise DependencyUnavailable from error
        _lag.set(sum(max(0, end - max(offset, begin)) for offset, begin, end in partitions), self._group)
        now = time.time()
        _age.set(max((now - message.timestamp()[1] / 1000 for message in self._in_progress), default=0.0), self._group)


def _raise_if_fenced(error: KafkaError) -> None:
    if error.code() in {KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID}:  # noqa: SLF001
        raise MemberFenced


def _find_traceparent(message: Message) -> str:
    """Returns the trace that a message's header names, or "" if there is none."""
    headers: Any = message.headers() or ()
    values = (value for name, value in headers if name == "traceparent")
    return next((validate_traceparent(str(value or b"", "ascii", "replace")) for value in values), "")
