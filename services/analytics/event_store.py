"""Stores the patient events of the Kafka topic."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from confluent_kafka import Message
from google.protobuf.message import DecodeError

from services.analytics.dead_letters import DeadLetters, describe_error
from services.analytics.domain import parse_event
from services.analytics.models import (
    DELETE_DEAD_LETTERS,
    ERASE_EVENTS,
    EVENT_COLUMNS,
    FIND_ERASED,
    INSERT_EVENTS,
    STATE_COLUMNS,
    UPSERT_PATIENTS,
)
from services.common.errors import ValueRejected
from services.common.postgres.batches import to_arrays
from services.common.postgres.database import Database, Transaction

TOPIC = "patient.events.v1"
GROUP = "analytics"

EVENT_ERRORS = (ValueError, DecodeError, asyncpg.PostgresError, ValueRejected)
"""The exceptions for a message that is not a valid event or that the tables reject. Retries do not help."""


class EventStore:
    """Stores each event once, in any order. A message that cannot be stored becomes a dead letter."""

    def __init__(self, db: Database, dead_letters: DeadLetters) -> None:
        self._db = db
        self._dead_letters = dead_letters

    async def store(self, messages: Sequence[Message]) -> None:
        """Stores a batch. Raises DependencyUnavailable; the caller must then retry the batch."""
        rows, rejected = [], []
        for message in messages:
            try:
                rows.append((message, _parse_message(message)))
            except EVENT_ERRORS as error:
                rejected.append((message, describe_error(error)))
        try:
            await self._insert([row for _, row in rows])
        except EVENT_ERRORS:
            rejected += await self._insert_singly(rows)
        for message, reason in rejected:  # last, so an unavailable dead-letter topic does not delay valid events
            await self._dead_letters.store(message, reason)

    async def _insert(self, rows: list[dict[str, Any]]) -> None:
        async with self._db.begin() as tx:
            await insert_events(tx, rows)

    async def _insert_singly(self, rows: list[tuple[Message, dict[str, Any]]]) -> list[tuple[Message, str]]:
        """Inserts each event in its own transaction. Returns the rejected messages with their reasons."""
        rejected = []
        for message, row in rows:
            try:
                await self._insert([row])
            except EVENT_ERRORS as error:
                rejected.append((message, describe_error(error)))
        return rejected


async def insert_events(tx: Transaction, rows: list[dict[str, Any]]) -> None:
    """Inserts events that are not yet stored, and updates their patients. Raises one of EVENT_ERRORS.

    The data of erased patients is removed, also from events that are older than the erasure and arrive after it.
    """
    await tx.run(INSERT_EVENTS, **to_arrays(rows, EVENT_COLUMNS))
    await tx.run(UPSERT_PATIENTS, **to_arrays(rows, STATE_COLUMNS))  # locks the patients
    erased = await tx.rows(FIND_ERASED, ids=[row["patient_id"] for row in rows])
    if erased:
        ids = [row["patient_id"] for row in erased]
        await tx.run(ERASE_EVENTS, ids=ids)
        await tx.run(DELETE_DEAD_LETTERS, texts=[str(each).encode() for each in ids])


def _parse_message(message: Message) -> dict[str, Any]:
    """Returns the columns of the event in a message. Raises ValueError or DecodeError."""
    key: Any = message.key()
    headers: Any = message.headers() or ()
    return parse_event(key, message.value(), headers, now=datetime.now(UTC))
