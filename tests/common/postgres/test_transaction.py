"""Transactions, and the statements that they run together."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, delete, insert, select, text

from services.common.errors import Failure, RateLimited
from services.common.postgres.database import Database, Transaction
from services.common.postgres.statement import CombinedStatement, Statement
from tests.harness.background import Background
from tests.harness.sql import Sql

TABLE = Table("things", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))
INSERT = Statement(insert(TABLE).values(id=bindparam("id"), name=bindparam("name")))
RENAME = Statement(TABLE.update().where(TABLE.c.id == bindparam("thing")).values(name=bindparam("new_name")))
DELETE = Statement(delete(TABLE).where(TABLE.c.name == bindparam("name")))
COUNT = Statement(select(text("count(*)")).select_from(TABLE))
SERVER = Statement(select(text("pg_backend_pid()")))
CURRENT_TRANSACTION = Statement(select(text("pg_current_xact_id_if_assigned()::text AS id")))


@pytest.fixture(scope="module")
def url(new_database: Callable[[str], str]) -> str:
    """The URL of a database."""
    return new_database("billing")


@pytest.fixture(scope="module")
def sql(background: Background, url: str) -> Sql:
    """The database, with a table."""
    sql = Sql(background, url)
    sql("CREATE TABLE things (id int PRIMARY KEY, name text UNIQUE)")
    return sql


@pytest.fixture
def db(background: Background, url: str, sql: Sql) -> Iterator[Database]:
    """The database, with an empty table."""
    sql("DELETE FROM things")
    with background.during(Database(url)) as db:
        yield db


def run(background: Background, db: Database, steps: Callable[[Transaction], Any]) -> list[bool]:
    """Runs steps in a transaction. Returns whether a callback ran after the commit."""
    called: list[bool] = []

    async def run() -> None:
        async with db.begin() as tx:
            tx.after_commit(lambda: called.append(True))
            if (step := steps(tx)) is not None:
                await step

    background.run(run())
    return called


def stored(sql: Sql) -> dict[int, str]:
    return {row["id"]: row["name"] for row in sql("SELECT * FROM things")}


def test_added_statements_run_at_the_commit(background: Background, db: Database, sql: Sql) -> None:
    def steps(tx: Transaction) -> None:
        tx.add(INSERT, id=1, name="one")
        tx.add(INSERT, id=2, name="two")

    assert run(background, db, steps) == [True]
    assert stored(sql) == {1: "one", 2: "two"}


def test_added_statements_share_a_transaction(background: Background, db: Database, sql: Sql) -> None:
    def steps(tx: Transaction) -> None:
        tx.add(INSERT, id=1, name="one")
        tx.add(INSERT, id=2, name="two")

    run(background, db, steps)
    assert len({row["xmin"] for row in sql("SELECT xmin FROM things")}) == 1


def test_added_statements_run_before_the_next_statement(background: Background, db: Database) -> None:
    found: list[Any] = []

    async def steps(tx: Transaction) -> None:
        tx.add(INSERT, id=1, name="one")
        found.append(await tx.row(COUNT))

    run(background, db, steps)
    assert found[0]["count"] == 1


def test_failed_statement_undoes_all_others(background: Background, db: Database, sql: Sql) -> None:
    def steps(tx: Transaction) -> None:
        tx.add(INSERT, id=1, name="one")
        tx.add(INSERT, conflicts={"things_name_key": RateLimited}, id=2, name="one")

    with pytest.raises(RateLimited):
        run(background, db, steps)
    assert stored(sql) == {}


def test_conflicts_of_all_added_statements_are_known(background: Background, db: Database) -> None:
    def steps(tx: Transaction) -> None:
        tx.add(INSERT, conflicts={"things_name_key": RateLimited}, id=1, name="one")
        tx.add(INSERT, id=2, name="one")

    with pytest.raises(RateLimited):
        run(background, db, steps)


def test_exception_discards_added_statements_and_rolls_back(background: Background, db: Database, sql: Sql) -> None:
    async def steps(tx: Transaction) -> None:
        await tx.run(INSERT, id=1, name="one")
        tx.add(INSERT, id=2, name="two")
        raise RateLimited

    with pytest.raises(Failure):
        run(background, db, steps)
    assert stored(sql) == {}


def test_statements_that_run_one_by_one_share_a_transaction(background: Background, db: Database) -> None:
    ids: list[Any] = []

    async def steps(tx: Transaction) -> None:
        for number in (1, 2):
            await tx.run(INSERT, id=number, name=str(number))
            ids.append(await tx.row(CURRENT_TRANSACTION))

    run(background, db, steps)
    assert ids[0]["id"] == ids[1]["id"] is not None


def test_connection_is_usable_after_a_rollback(background: Background, db: Database, sql: Sql) -> None:
    run(background, db, lambda tx: tx.run(INSERT, id=1, name="one"))
    with pytest.raises(RateLimited):
        run(background, db, lambda tx: tx.run(INSERT, conflicts={"things_pkey": RateLimited}, id=1, name="two"))
    run(background, db, lambda tx: tx.run(INSERT, id=3, name="three"))
    assert set(stored(sql)) == {1, 3}


def test_cancelled_transaction_ends_although_the_server_does_not_respond(background: Background, db: Database) -> None:
    async def run() -> None:
        began = asyncio.Event()

        async def wait() -> None:
            async with db.begin() as tx:
                [[server]] = await tx.rows(SERVER)
                os.kill(server, signal.SIGSTOP)
                servers.append(server)
                began.set()
                await tx.rows(COUNT)

        waiting = asyncio.create_task(wait())
        await began.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    servers: list[int] = []
    try:
        background.run(run())
    finally:
        for server in servers:
            os.kill(server, signal.SIGCONT)


def test_parameters_of_combined_statements_are_numbered_in_order() -> None:
    combined = CombinedStatement([INSERT, RENAME, DELETE])
    assert combined.sql == (
        "WITH step_0 AS (INSERT INTO things (id, name) VALUES ($1::INTEGER, $2::VARCHAR)), "
        "step_1 AS (UPDATE things SET name=$3::VARCHAR WHERE things.id = $4::INTEGER) "
        "DELETE FROM things WHERE things.name = $5::VARCHAR"
    )
    values: list[dict[str, Any]] = [{"id": 1, "name": "one"}, {"thing": 2, "new_name": "two"}, {"name": "three"}]
    assert combined.arguments(values) == [1, "one", "two", 2, "three"]


def test_one_statement_is_not_changed() -> None:
    assert CombinedStatement([INSERT]).sql == INSERT.sql
