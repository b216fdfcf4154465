"""Relays while a transaction elsewhere on the server prevents vacuum from removing the entries of delivered rows."""

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from asyncpg import Record

from services.common.messaging import relay
from services.common.messaging.relay import Deliveries, Relay
from services.common.messaging.topic import KnownTopics
from services.common.postgres.database import Database
from services.patient.models import known_topics, outbox_rows
from tests.harness.background import Background
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

ADD = """INSERT INTO outbox (destination, event_id, key, type, payload, traceparent)
    SELECT 'test', gen_random_uuid(), gen_random_uuid()::text, '', '', '' FROM generate_series(1, $1)"""
WAITING = "SELECT FROM outbox WHERE destination = 'test' AND delivered_time IS NULL"
EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
DELIVERIES = Deliveries(outbox_rows)


class Destination:
    """A destination that accepts every event."""

    name = "test"
    batch = 100

    async def find_incarnation(self) -> None:
        """Returns None."""

    async def deliver(self, rows: Sequence[Record]) -> Sequence[None]:
        return [None] * len(rows)


def count_buffers(sql: Sql, floor: int) -> int:
    """Returns the number of pages that a claim reads."""
    arguments = DELIVERIES.claim.arguments(
        {"destination": "test", "floor": floor, "limit": 100, "lease": timedelta(seconds=10)}
    )
    [[plan]] = sql(EXPLAIN + DELIVERIES.claim.sql, *arguments)
    root = json.loads(plan)[0]["Plan"]
    return int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])


@pytest.fixture
def running(background: Background, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """A relay that searches for its floor often."""
    monkeypatch.setattr(relay, "_IDLE_SECONDS", 0.05)
    with background.during(Database(database_url)) as db:
        running = Relay(DELIVERIES, db, KnownTopics(known_topics), Destination())
        with background.during(running):
            yield running


def wait_for_floor(sql: Sql, running: Relay) -> None:
    """Waits until all rows are delivered, and the floor is the last of them."""
    eventually(lambda: not sql(WAITING))
    [[newest]] = sql("SELECT max(id) FROM outbox")
    eventually(lambda: running.floor >= newest)


def test_claim_reads_no_entries_of_delivered_rows(running: Relay, sql: Sql) -> None:
    sql("ALTER TABLE outbox SET (autovacuum_enabled = off)")  # an ANALYZE makes Postgres read all of a small table
    with sql.hold_locks("SELECT pg_current_xact_id()"):
        sql(ADD, 3000)
        wait_for_floor(sql, running)
        assert count_buffers(sql, 0) > 100
        assert count_buffers(sql, running.floor) < 100


def test_row_committed_below_the_floor_is_delivered(running: Relay, sql: Sql) -> None:
    with sql.hold_locks(ADD, 1, commit=True):
        sql(ADD, 1)
        wait_for_floor(sql, running)
    eventually(lambda: not sql(WAITING))
