"""A database that was restored into another server continues its journals, and delivers its outbox rows again."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from services.common.postgres.migrate import detect_restore
from tests.harness.background import Background
from tests.harness.sql import Sql

AHEAD = 10**12
"""More transactions than the server of the tests has run."""

INSERT_REVISION = """
    INSERT INTO revisions (patient_id, revision, actor_id, occur_time, type, patient) VALUES ($1, 1, '', now(), 1, '')
"""
INSERT_DELIVERED = """
    INSERT INTO outbox (destination, event_id, key, type, payload, traceparent, delivered_time)
    VALUES ('billing', $1, 'key', 'type', '', '', now())
"""
DELIVERED = "SELECT count(delivered_time) AS delivered, count(*) AS rows FROM outbox"
IN_ORDER = "SELECT patient_id FROM revisions ORDER BY transaction, position"
VISIBLE = (
    f"{IN_ORDER.replace('ORDER', 'WHERE transaction < journal_number(pg_snapshot_xmin(pg_current_snapshot())) ORDER')}"
)


@pytest.fixture
def url(new_database: Callable[[str], str]) -> str:
    """A database of the patient service, before its first incarnation."""
    return new_database("patient")


@pytest.fixture
def sql(background: Background, url: str) -> Sql:
    """Runs SQL in that database."""
    return Sql(background, url)


def come_from_another_server(sql: Sql) -> None:
    """Makes a database look like one that was restored from the dump of another server."""
    sql("UPDATE incarnations SET database = 'another'")
    sql("UPDATE revisions SET transaction = transaction + $1", AHEAD)


def test_new_database_numbers_transactions_as_the_server_does(background: Background, url: str, sql: Sql) -> None:
    background.run(detect_restore(url))
    assert sql("SELECT shift FROM incarnations") == [(0,)]
    [[difference]] = sql("SELECT journal_number(pg_current_xact_id()) - pg_current_xact_id()::text::bigint")
    assert difference == 0


def test_changes_after_a_restore_follow_those_before_it(background: Background, url: str, sql: Sql) -> None:
    background.run(detect_restore(url))
    old, new = uuid4(), uuid4()
    sql(INSERT_REVISION, old)
    come_from_another_server(sql)
    background.run(detect_restore(url))
    sql(INSERT_REVISION, new)
    assert [row["patient_id"] for row in sql(IN_ORDER)] == [old, new]
    assert {row["patient_id"] for row in sql(VISIBLE)} >= {old}


def test_dump_of_a_version_without_incarnations_is_detected(background: Background, url: str, sql: Sql) -> None:
    old, new = uuid4(), uuid4()
    sql(INSERT_REVISION, old)
    come_from_another_server(sql)
    background.run(detect_restore(url))
    sql(INSERT_REVISION, new)
    assert [row["patient_id"] for row in sql(IN_ORDER)] == [old, new]


def test_outbox_rows_of_a_restored_database_are_delivered_again(background: Background, url: str, sql: Sql) -> None:
    background.run(detect_restore(url))
    sql(INSERT_DELIVERED, uuid4())
    background.run(detect_restore(url))
    assert sql(DELIVERED) == [(1, 1)]
    come_from_another_server(sql)
    background.run(detect_restore(url))
    assert sql(DELIVERED) == [(0, 1)]


def test_server_that_hides_its_identifier_is_supported(background: Background, url: str, sql: Sql) -> None:
    sql("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    sql("CREATE ROLE plain")
    sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO plain")
    sql("ALTER FUNCTION journal_number(xid8) OWNER TO plain")
    sql("GRANT CREATE ON SCHEMA public TO plain")
    assert not background.run(detect_restore(f"{url}?role=plain"))
    sql("UPDATE incarnations SET database = 'another'")
    assert background.run(detect_restore(f"{url}?role=plain"))


def test_physical_restore_is_declared(background: Background, url: str, sql: Sql) -> None:
    background.run(detect_restore(url))
    sql(INSERT_DELIVERED, uuid4())
    background.run(detect_restore(url, restored=True))
    assert sql(DELIVERED) == [(0, 1)]
    assert sql("SELECT count(*) FROM incarnations") == [(2,)]


@pytest.mark.parametrize("restores", [1, 2])
def test_numbers_increase_with_every_restore(background: Background, url: str, sql: Sql, restores: int) -> None:
    for _ in range(restores):
        sql(INSERT_REVISION, uuid4())
        background.run(detect_restore(url, restored=True))
    last = uuid4()
    sql(INSERT_REVISION, last)
    assert sql(IN_ORDER)[-1]["patient_id"] == last
