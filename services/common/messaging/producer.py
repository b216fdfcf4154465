"""Publishing to a Kafka topic."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from opentelemetry.trace import SpanKind

from services.common.errors import DependencyUnavailable
from services.common.messaging.topic import Topic, client_config
from services.common.messaging.topic_settings import EVENTS, TIMEOUT_SECONDS, TopicSettings
from services.common.observability.tracing import messaging_attributes, start_spans


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to publish."""

    key: str | bytes
    value: bytes
    headers: Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]]
    traceparent: str = ""
    """The trace of the message, which is sent as a header. Empty if there is none."""


class MessageTooLarge(Exception):  # noqa: N818 - the name of the error in Kafka
    """Raised when a message exceeds the size limit of the producer or the broker. A retry does not help."""


class Publisher:
    """Publishes to one topic. All in-sync replicas acknowledge each message."""

    def __init__(self, bootstrap: str, topic: str, settings: TopicSettings = EVENTS) -> None:
        self._bootstrap = bootstrap
        self._topic = Topic(bootstrap, topic, settings)
        self._producer: Producer | None = None
        self._attributes = messaging_attributes(topic, "send")

    async def topic_id(self) -> str:
        """Creates the topic, or reconciles its settings, and returns its id. Raises DependencyUnavailable."""
        return await asyncio.to_thread(self._topic.find_id, create=True) or ""

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publishes messages in order, and returns when all are acknowledged.

        Raises DependencyUnavailable or MessageTooLarge if any is not acknowledged. The others may have been published.
        """
        parents = [message.traceparent for message in messages]
        name = f"send {self._topic.name}"
        with start_spans(name, SpanKind.PRODUCER, self._attributes, parents=parents) as traceparents:
            await asyncio.to_thread(self._publish, messages, traceparents)

    def _publish(self, messages: Sequence[OutgoingMessage], traceparents: Sequence[str]) -> None:
        producer = self._producer or self._create_producer()
        errors: list[KafkaError] = []

        def collect_error(error: KafkaError | None, _: Message) -> None:
            if error:
                errors.append(error)

        try:
            for message, traceparent in zip(messages, traceparents, strict=True):
                headers = _build_headers(message, traceparent)
                producer.produce(
                    self._topic.name, message.value, message.key, headers=headers, on_delivery=collect_error
                )
            unacknowledged = producer.flush(TIMEOUT_SECONDS + 1)
        except (BufferError, KafkaException) as error:
            self._drop_producer()
            raise _to_failure(error) from error
        if errors or unacknowledged:
            # An idempotent producer cannot continue after the broker has lost its state. The next call creates another.
            self._drop_producer()
            first = KafkaException(errors[0] if errors else KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            raise _to_failure(first) from first

    def _create_producer(self) -> Producer:
        self._producer = Producer(
            client_config(self._bootstrap)
            | {"enable.idempotence": True, "linger.ms": 0, "message.timeout.ms": TIMEOUT_SECONDS * 1000}
        )
        return self._producer

    def _drop_producer(self) -> None:
        if self._producer:
            self._producer.purge()
        self._producer = None


def _build_headers(message: OutgoingMessage, traceparent: str) -> list[tuple[str, str | bytes | None]]:
    headers = message.headers.items() if isinstance(message.headers, Mapping) else message.headers
    return [*headers, *([("traceparent", traceparent)] if traceparent else [])]


def _to_failure(error: BufferError | KafkaException) -> Exception:
    if isinstance(error, KafkaException) and error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return MessageTooLarge()
    return DependencyUnavailable()
