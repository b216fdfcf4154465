"""Storing patient events as they come from Kafka."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import asyncpg
import betterproto2
from confluent_kafka import Message
from google.protobuf.message import DecodeError

from gen.pulsetrack.analytics.v1 import PatientEventType
from gen.pulsetrack.patient.v1 import PatientEvent
from services.analytics.dead_letters import DeadLetters, reason_of
from services.analytics.domain import Headers, check_event, check_headers
from services.analytics.models import INSERT_EVENT, UPSERT_PATIENT
from services.common.errors import ValueRejected
from services.common.postgres.database import Database, Transaction
from services.common.protobuf import codec

TOPIC = "patient.events.v1"
GROUP = "analytics"

UNSTORABLE = (ValueError, DecodeError, asyncpg.PostgresError, ValueRejected)
"""What is raised for a message that is no event, or none that the tables take."""

_codec = codec.codec_of(PatientEvent)


class EventStore:
    """Stores events, each once, whatever their order. What is no event is kept aside and holds nothing up."""

    def __init__(self, db: Database, dead_letters: DeadLetters) -> None:
        self._db = db
        self._dead_letters = dead_letters

    async def store(self, messages: Sequence[Message]) -> None:
        """Stores a batch. Raises DependencyUnavailable: then the batch is to be stored again."""
        rows, refused = [], []
        for message in messages:
            try:
                rows.append((message, _row_of(message)))
            except UNSTORABLE as error:
                refused.append((message, reason_of(error)))
        try:
            await self._insert([row for _, row in rows])
        except UNSTORABLE:
            refused += await self._store_singly(rows)
        for message, reason in refused:  # last, so that a topic that is away keeps no event from being stored
            await self._dead_letters.keep(message, reason)

    async def _insert(self, rows: list[dict[str, Any]]) -> None:
        async with self._db.begin() as tx:
            await insert_events(tx, rows)

    async def _store_singly(self, rows: list[tuple[Message, dict[str, Any]]]) -> list[tuple[Message, str]]:
        """Stores what can be stored, and returns the rest with the reasons."""
        refused = []
        for message, row in rows:
            try:
                await self._insert([row])
            except UNSTORABLE as error:
                refused.append((message, reason_of(error)))
        return refused


async def insert_events(tx: Transaction, rows: list[dict[str, Any]]) -> None:
    """Inserts events, each once, with what they say of their patients. Raises what is in UNSTORABLE."""
    await tx.run_many(INSERT_EVENT, rows)
    await tx.run_many(UPSERT_PATIENT, sorted(rows, key=lambda row: row["patient_id"]))


def _row_of(message: Message) -> dict[str, Any]:
    """Returns the columns of a message's event. Raises ValueError or DecodeError, also if its headers are another's."""
    key: Any = message.key()
    headers: Any = message.headers() or ()
    return event_row(key, message.value(), headers)


def event_row(key: bytes | None, value: bytes | None, headers: Headers | None = None) -> dict[str, Any]:
    """Returns an event's columns.

    Raises ValueError or DecodeError if the value is no event that the patient service can have published under the key,
    and the headers if they are known.
    """
    event = _codec.loads(value or b"")
    kind, happened = betterproto2.which_one_of(event, "event")
    if happened is None or happened.patient is None or event.occur_time is None:
        raise ValueError("the message tells of nothing that happened to a patient")
    patient_id = UUID(happened.patient.id)
    check_event(event, patient_id, key, now=datetime.now(UTC))
    if headers is not None:
        check_headers(event, happened, headers)
    return {
        "event_id": UUID(event.event_id),
        "patient_id": patient_id,
        "type": int(PatientEventType[kind.upper()]),
        "sequence": event.sequence,
        "actor_id": event.actor_id,
        "occur_time": event.occur_time,
        "payload": value,
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
