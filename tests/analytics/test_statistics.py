"""The statements of GetPatientStatistics return the same counts as statements that read every row."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from services.analytics.domain import summarize_patients
from services.analytics.statistics import COUNT_EVENTS, COUNT_PATIENTS
from services.common.postgres.statement import Statement
from tests.harness.background import Background
from tests.harness.sql import Sql

EVENTS_COUNTED_ONE_BY_ONE = """
    SELECT timezone('UTC', date_trunc($1, timezone('UTC', occur_time))) AS start_time,
        count(*) FILTER (WHERE type = 1) AS registrations, count(*) FILTER (WHERE type = 2) AS updates,
        count(*) FILTER (WHERE type = 3) AS deletions
    FROM events WHERE occur_time >= $2 AND occur_time < $3 GROUP BY 1 ORDER BY 1
"""
PATIENTS_COUNTED_ONE_BY_ONE = """
    SELECT deleted, sex, count(*),
        CASE WHEN date_of_birth < $1::date
            THEN width_bucket(date_part('year', age($1::date::timestamp, date_of_birth::timestamp)), 0, 90, 9)
            WHEN date_of_birth >= $1::date THEN 1 END AS band
    FROM patients GROUP BY deleted, sex, band
"""
INSERT_EVENTS = """
    INSERT INTO events (event_id, patient_id, type, sequence, actor_id, occur_time, payload)
    SELECT md5(time::text)::uuid, gen_random_uuid(), type, 1, '', time, ''
    FROM unnest($1::int[], $2::timestamptz[]) AS added (type, time) ON CONFLICT DO NOTHING
"""
UPSERT_PATIENT = """
    INSERT INTO patients (patient_id, sequence, deleted, sex, date_of_birth)
    SELECT DISTINCT ON (id) md5(id::text)::uuid, sequence, deleted, sex, date_of_birth
    FROM unnest($1::int[], $2::int[], $3::bool[], $4::int[], $5::date[])
        AS added (id, sequence, deleted, sex, date_of_birth)
    ON CONFLICT (patient_id) DO UPDATE SET sequence = excluded.sequence, deleted = excluded.deleted, sex = excluded.sex,
        date_of_birth = excluded.date_of_birth
    WHERE patients.sequence < excluded.sequence
"""
FEBRUARY = datetime(2024, 2, 27, tzinfo=UTC)
TODAYS = [
    *(date(2024, 2, 28) + timedelta(days=days) for days in range(3)),
    *(date(2026, 2, 27) + timedelta(days=days) for days in range(3)),
    *(date(2026, 12, 31) + timedelta(days=days) for days in range(2)),
]


@pytest.fixture(scope="module")
def sql(background: Background, new_database: Callable[[str], str]) -> Sql:
    """Runs SQL in a database of this module."""
    return Sql(background, new_database("analytics"))


def run(sql: Sql, statement: Statement, **values: Any) -> list[Any]:
    return sql(statement.sql, *statement.arguments(values))


def draw_times(draw: random.Random) -> Iterator[datetime]:
    """Yields times at, before and after midnight, and at noon, of a few days. Some are equal."""
    while True:
        hours, offset = draw.randrange(0, 20) * 12, draw.choice([-1, 0, 0, 1])
        yield FEBRUARY + timedelta(hours=hours, microseconds=offset)


def draw_birthday(draw: random.Random) -> date | None:
    """Returns an unknown, a distant or a leap day, or a day near the end of a month."""
    return draw.choice(
        [
            None,
            date(draw.choice([1, 1850, 2100, 9999]), 1, 1),
            date(draw.randrange(1920, 2028, 4), 2, 29),
            date(draw.randrange(1924, 2028), 3, 1) + timedelta(days=draw.randrange(-3, 3)),
            date(draw.randrange(1924, 2028), 1, 1) + timedelta(days=draw.randrange(-3, 3)),
        ]
    )


def test_counts_of_events_equal_the_events_of_the_period(sql: Sql) -> None:
    draw = random.Random(1)
    times = draw_times(draw)
    for _ in range(8):  # later batches contain events of earlier ones
        batch = [next(times) for _ in range(40)]
        sql(INSERT_EVENTS, [draw.randrange(1, 5) for _ in batch], batch)
    for number in range(25):
        start, end = sorted(next(times) for _ in range(2))
        bucket = ("day", "week", "month")[number % 3]
        expected = sql(EVENTS_COUNTED_ONE_BY_ONE, bucket, start, end)
        assert run(sql, COUNT_EVENTS, bucket=bucket, start=start, end=end) == expected


def test_counts_of_patients_equal_the_patients(sql: Sql) -> None:
    draw = random.Random(2)
    for _ in range(10):
        ids = range(300)
        sql(
            UPSERT_PATIENT,
            ids,
            [draw.randrange(1, 20) for _ in ids],
            [draw.random() < 0.3 for _ in ids],
            [draw.randrange(0, 3) for _ in ids],
            [draw_birthday(draw) for _ in ids],
        )
    for today in TODAYS:
        expected = summarize_patients(sql(PATIENTS_COUNTED_ONE_BY_ONE, today))
        assert summarize_patients(run(sql, COUNT_PATIENTS, today=today)) == expected


def test_deleted_rows_are_not_counted(sql: Sql) -> None:
    day = datetime(2010, 5, 4, tzinfo=UTC)
    period = {"bucket": "day", "start": day, "end": day + timedelta(days=1)}
    sql(INSERT_EVENTS, [1, 2], [day, day + timedelta(hours=1)])
    sql("DELETE FROM events WHERE occur_time = $1", day)
    assert run(sql, COUNT_EVENTS, **period) == [(day, 0, 1, 0)]
    sql("DELETE FROM events WHERE occur_time = $1", day + timedelta(hours=1))
    assert run(sql, COUNT_EVENTS, **period) == []
