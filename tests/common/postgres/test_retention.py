"""Rows that are older than their retention are deleted, in batches and by several processes at a time."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Column, Table

from services.analytics.models import events
from services.common.postgres.database import Database
from services.common.postgres.retention import OldRows, Retention
from services.patient.models import outbox_rows
from tests.harness.background import Background
from tests.harness.sql import Sql

INSERT_ROWS = """
    INSERT INTO outbox (destination, event_id, key, type, payload, traceparent, delivered_time)
    SELECT 'billing', $1, 'key', 'type', '', '', now() - make_interval(days => $2) FROM generate_series(1, $3)
"""
INSERT_WAITING = """
    INSERT INTO outbox (destination, event_id, key, type, payload, traceparent, create_time)
    VALUES ('billing', $1, 'key', 'type', '', '', now() - interval '1 year')
"""
INSERT_EVENTS = """
    INSERT INTO events (event_id, patient_id, type, sequence, actor_id, occur_time, payload)
    SELECT gen_random_uuid(), $1, 1, 1, '', date '2020-06-01' + number, '' FROM generate_series(1, $2) AS of (number)
"""
COUNT = "SELECT count(*) FROM {}"


@pytest.fixture
def url(new_database: Callable[[str], str]) -> str:
    """A database of the patient service."""
    return new_database("patient")


async def run_retention(url: str, table: Table, time: Column[Any], *, days: int, processes: int) -> None:
    """Deletes old rows in several processes' pools until none of them finds more."""
    async with AsyncExitStack() as stack:
        tasks = []
        for _ in range(processes):
            db = await stack.enter_async_context(Database(url, connections=2))
            tasks.append(Retention(db, OldRows(table, time, timedelta(days))))
        for task in tasks:
            task.start()
        stopped = await asyncio.gather(*(task.stop(grace_seconds=30) for task in tasks))
        assert all(stopped)


@pytest.mark.parametrize("processes", [1, 3])
def test_old_delivered_rows_are_deleted(background: Background, url: str, processes: int) -> None:
    sql = Sql(background, url)
    sql(INSERT_ROWS, uuid4(), 8, 2500)  # more than two batches
    sql(INSERT_ROWS, uuid4(), 6, 1)
    sql(INSERT_WAITING, uuid4())
    background.run(run_retention(url, outbox_rows, outbox_rows.c.delivered_time, days=7, processes=processes))
    assert sql(COUNT.format("outbox")) == [(2,)]


def test_rows_that_another_process_deletes_are_skipped(background: Background, url: str) -> None:
    sql = Sql(background, url)
    sql(INSERT_ROWS, uuid4(), 8, 2)
    with sql.hold_locks("SELECT FROM outbox ORDER BY id LIMIT 1 FOR UPDATE"):
        background.run(run_retention(url, outbox_rows, outbox_rows.c.delivered_time, days=7, processes=1))
        assert sql(COUNT.format("outbox")) == [(1,)]


@pytest.mark.parametrize(("days", "left"), [(0, 10), (1, 0)])
def test_events_are_retained_forever_by_default(
    background: Background, new_database: Callable[[str], str], days: int, left: int
) -> None:
    url = new_database("analytics")
    sql = Sql(background, url)
    sql(INSERT_EVENTS, uuid4(), 10)
    background.run(run_retention(url, events, events.c.occur_time, days=days, processes=1))
    assert sql(COUNT.format("events")) == [(left,)]
    assert sql("SELECT coalesce(sum(count), 0)::int FROM event_counts") == [(left,)]
