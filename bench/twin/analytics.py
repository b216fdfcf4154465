"""The analytics process: it stores each event of the topic as a row."""

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import uvloop
from confluent_kafka import Consumer, Message
from sqlalchemy.dialects.postgresql import insert

from bench.twin.database import Database
from bench.twin.models import AnalyticsEvent
from bench.twin.settings import TOPIC, Settings

_BATCH = 500
_POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)


def main() -> None:
    """Consumes until the process is stopped."""
    uvloop.run(_consume(Settings.read()))


async def _consume(settings: Settings) -> None:
    db = Database(settings.database_url)
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka,
            "group.id": "twin-analytics",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 1000,
            "fetch.wait.max.ms": 50,
        }
    )
    consumer.subscribe([TOPIC])
    while True:
        messages = await asyncio.to_thread(_poll, consumer)
        if messages:
            await _store(db, messages)
            consumer.commit(asynchronous=True)


def _poll(consumer: Consumer) -> list[Message]:
    """Returns the next messages: waits for one, and then takes those that have already arrived."""
    first = consumer.poll(_POLL_SECONDS)
    messages = [first, *consumer.consume(_BATCH, 0)] if first else []
    for message in messages:
        if error := message.error():
            _log.warning("the topic cannot be read: %s", error)
    return [message for message in messages if not message.error()]


async def _store(db: Database, messages: Sequence[Message]) -> None:
    rows = [_to_row(message) for message in messages]
    async with db.engine.begin() as connection:
        await connection.execute(insert(AnalyticsEvent).on_conflict_do_nothing(), rows)


def _to_row(message: Message) -> dict[str, Any]:
    payload = message.value() or b""
    event = json.loads(payload)
    return {
        "event_id": UUID(event["eventId"]),
        "patient_id": UUID(event["patient"]["id"]),
        "type": event["type"],
        "occur_time": datetime.fromisoformat(event["occurTime"]),
        "payload": payload,
    }


if __name__ == "__main__":
    main()
