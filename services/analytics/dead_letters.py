"""Keeping messages aside that cannot be stored as events."""

import hashlib
import logging
from typing import Any, cast

import msgspec
from confluent_kafka import Message

from services.analytics.models import INSERT_DEAD_LETTER
from services.common.messaging.producer import MessageTooLarge, OutgoingMessage, Publisher
from services.common.postgres.database import Database

TOPIC = "patient.events.v1.dlq"
REASON_HEADER = "dead-letter-reason"

_LONGEST_REASON = 1000
_log = logging.getLogger(__name__)


class DeadLetters:
    """Keeps each message twice: in a table, to be listed and replayed, and in a topic, as it came."""

    def __init__(self, db: Database, publisher: Publisher) -> None:
        self._db = db
        self._publisher = publisher

    async def keep(self, message: Message, reason: str) -> None:
        """Keeps a message: once in the table, at least once in the topic.

        Raises DependencyUnavailable: then it is to be kept again.
        """
        _log.error("message %d of partition %d is kept aside: %s", message.offset(), message.partition(), reason)
        await self._db.row(INSERT_DEAD_LETTER, reason=reason, **_columns(message))
        await self._publisher.topic_id()  # creates the topic if it is missing
        key: Any = message.key()  # which may be None
        value: Any = message.value()  # as this
        letter = OutgoingMessage(key, value, [*_headers(message), (REASON_HEADER, reason)])
        try:
            await self._publisher.publish([letter])
        except MessageTooLarge:  # with the reason: nothing more may wait for it, and the table has it
            _log.exception("message %d of partition %d is in the table only", message.offset(), message.partition())


def reason_of(error: Exception) -> str:
    """Returns why a message cannot be stored, as a dead letter says it."""
    return repr(error.__cause__ or error)[:_LONGEST_REASON]


def _columns(message: Message) -> dict[str, Any]:
    key, value = message.key() or b"", message.value() or b""
    headers = {name: _text(content) for name, content in _headers(message)}
    return {
        "digest": hashlib.sha256(key + b"\0" + value).digest(),
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "key": key,
        "value": value,
        "headers": msgspec.json.encode(headers).decode(),
    }


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def _text(content: bytes | None) -> str:
    """Returns a header's content as JSONB can hold it."""
    return str(content or b"", "utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
