"""Storing patient events as they come from Kafka."""

import hashlib
import logging
from collections.abc import Sequence
from datetime import date
from typing import Any, cast
from uuid import UUID

import asyncpg
import betterproto2
import msgspec
from confluent_kafka import Message
from google.protobuf.message import DecodeError

from gen.pulsetrack.analytics.v1 import PatientEventType
from gen.pulsetrack.patient.v1 import PatientEvent
from services.analytics.models import INSERT_DEAD_LETTER, INSERT_EVENT, UPSERT_PATIENT
from services.common import wire
from services.common.db import Database

TOPIC = "patient.events.v1"
GROUP = "analytics"

_codec = wire.codec_of(PatientEvent)
_log = logging.getLogger(__name__)


class EventStore:
    """Stores events, each once, whatever their order. What is no event is kept aside and holds nothing up."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def store(self, messages: Sequence[Message]) -> None:
        """Stores a batch. Raises DependencyUnavailable: then nothing of the batch may be stored."""
        rows = []
        for message in messages:
            try:
                rows.append((message, _row(message)))
            except (ValueError, DecodeError) as error:
                await self._keep_aside(message, error)
        try:
            await self._insert([row for _, row in rows])
        except asyncpg.PostgresError:
            await self._store_singly(rows)

    async def _insert(self, rows: list[dict[str, Any]]) -> None:
        async with self._db.begin() as tx:
            await tx.run_many(INSERT_EVENT, rows)
            await tx.run_many(UPSERT_PATIENT, sorted(rows, key=lambda row: row["patient_id"]))

    async def _store_singly(self, rows: list[tuple[Message, dict[str, Any]]]) -> None:
        for message, row in rows:
            try:
                await self._insert([row])
            except asyncpg.PostgresError as error:
                await self._keep_aside(message, error)

    async def _keep_aside(self, message: Message, error: Exception) -> None:
        key, value = message.key() or b"", message.value() or b""
        headers = {name: _text(content) for name, content in _headers(message)}
        _log.error("message %d of partition %d is kept aside: %r", message.offset(), message.partition(), error)
        await self._db.row(
            INSERT_DEAD_LETTER,
            digest=hashlib.sha256(key + b"\0" + value).digest(),
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            key=key,
            value=value,
            headers=msgspec.json.encode(headers).decode(),
            reason=repr(error)[:1000],
        )


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def _text(content: bytes | None) -> str:
    """Returns a header's content as JSONB can hold it."""
    return str(content or b"", "utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _row(message: Message) -> dict[str, Any]:
    """Returns an event's columns. Raises ValueError or DecodeError if the message is no event."""
    event = _codec.loads(message.value() or b"")
    kind, happened = betterproto2.which_one_of(event, "event")
    if happened is None or happened.patient is None or event.occur_time is None:
        raise ValueError("the message tells of nothing that happened to a patient")
    return {
        "event_id": UUID(event.event_id),
        "patient_id": UUID(happened.patient.id),
        "type": int(PatientEventType[kind.upper()]),
        "sequence": event.sequence,
        "actor_id": event.actor_id,
        "occur_time": event.occur_time,
        "payload": message.value(),
        "deleted": happened.patient.delete_time is not None,
        "sex": int(happened.patient.sex),
        "date_of_birth": _day(happened.patient.date_of_birth),
    }


def _day(text: str) -> date | None:
    """Returns a day, None if it is none: who has no day of birth is counted all the same."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
