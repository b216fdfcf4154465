"""Dead letters: messages that cannot be stored as events."""

import hashlib
import logging
from typing import Any, cast

import msgspec
from confluent_kafka import Message
from opentelemetry import metrics

from services.analytics.models import COUNT_DEAD_LETTERS, INSERT_DEAD_LETTER
from services.common.messaging.producer import MessageTooLarge, OutgoingMessage, Publisher
from services.common.postgres.database import Database

TOPIC = "patient.events.v1.dlq"
REASON_HEADER = "dead-letter-reason"

_MAX_REASON_LENGTH = 1000
_log = logging.getLogger(__name__)
_count = metrics.get_meter("pulsetrack").create_gauge(
    "pulsetrack.dead_letters", unit="{message}", description="Dead letters that were not replayed."
)


class DeadLetters:
    """Stores each dead letter in a table, for lists and replays, and publishes it with its reason to a topic."""

    def __init__(self, db: Database, publisher: Publisher) -> None:
        self._db = db
        self._publisher = publisher

    async def measure(self) -> None:
        """Sets the gauge of the dead letters that were not replayed. Raises DependencyUnavailable."""
        [row] = await self._db.rows(COUNT_DEAD_LETTERS)
        _count.set(row["count"])

    async def store(self, message: Message, reason: str) -> None:
        """Stores a message exactly once in the table and at least once in the topic.

        Raises DependencyUnavailable; the caller must then retry.
        """
        _log.error("message %d of partition %d is a dead letter: %s", message.offset(), message.partition(), reason)
        await self._db.row(INSERT_DEAD_LETTER, reason=reason, **_to_columns(message))
        await self._publisher.topic_id()  # creates the topic if it is missing
        key: Any = message.key()  # may be None
        value: Any = message.value()  # may be None
        dead_letter = OutgoingMessage(key, value, [*_get_headers(message), (REASON_HEADER, reason)])
        try:
            await self._publisher.publish([dead_letter])
        except MessageTooLarge:  # the reason header exceeds the limit; the table has the message
            _log.exception(
                "the dead letter of message %d of partition %d exceeds the limit of the topic and is only in the table",
                message.offset(),
                message.partition(),
            )


def describe_error(error: Exception) -> str:
    """Returns the reason field of a dead letter for an error."""
    return repr(error.__cause__ or error)[:_MAX_REASON_LENGTH]


def _to_columns(message: Message) -> dict[str, Any]:
    key, value = message.key() or b"", message.value() or b""
    headers = {name: _decode_header(content) for name, content in _get_headers(message)}
    return {
        "digest": hashlib.sha256(key + b"\0" + value).digest(),
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "key": key,
        "value": value,
        "headers": msgspec.json.encode(headers).decode(),
    }


def _get_headers(message: Message) -> list[tuple[str, bytes | None]]:
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def _decode_header(content: bytes | None) -> str:
    """Returns the value of a header as text that JSONB accepts."""
    return str(content or b"", "utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
