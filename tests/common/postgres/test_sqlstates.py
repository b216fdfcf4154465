"""The failures that clients receive for the SQLSTATEs of Postgres."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from grpc import StatusCode
from sqlalchemy import bindparam, func, select, text

from services.common.errors import DependencyUnavailable, Failure
from services.common.postgres.database import Database
from services.common.postgres.sqlstates import FAILURES
from services.common.postgres.statement import Statement
from tests.harness.background import Background
from tests.harness.sql import Sql

FAIL = """
    CREATE FUNCTION fail(state text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'a failure' USING ERRCODE = state; END $$
"""
STATES = sorted({getattr(each, "sqlstate", None) or "" for each in vars(asyncpg.exceptions).values()} - {""})
RETRYABLE = {StatusCode.UNAVAILABLE, StatusCode.ABORTED, StatusCode.DEADLINE_EXCEEDED}
ENVIRONMENT = ("08", "28", "3D", "40", "53", "57", "58", "72", "25006", "25P03", "25P04", "55006", "55P03")
VALUES = ("22000", "22003", "22007", "22008", "22021", "22P02", "22P05")


@pytest.fixture(scope="module")
def service_name() -> str:
    return "billing"


@pytest.fixture(scope="module")
def db(background: Background, database_url: str) -> Iterator[Database]:
    """A database with a function that raises a given SQLSTATE."""
    Sql(background, database_url)(FAIL)
    with background.during(Database(database_url)) as db:
        yield db


def catch_error(background: Background, db: Database, state: str) -> BaseException:
    """Returns the exception of a statement that fails with a SQLSTATE."""

    async def run() -> BaseException:
        try:
            await db.row(Statement(select(func.fail(bindparam("state")))), state=state)
        except (Failure, asyncpg.PostgresError) as error:
            return error
        raise AssertionError(state)

    return background.run(run())


@pytest.mark.parametrize("state", [state for state in STATES if state.startswith(ENVIRONMENT)])
def test_errors_of_the_environment_can_be_retried(background: Background, db: Database, state: str) -> None:
    error = catch_error(background, db, state)
    assert isinstance(error, DependencyUnavailable)
    assert error.code in RETRYABLE


@pytest.mark.parametrize("state", VALUES)
def test_invalid_value_is_an_invalid_argument(background: Background, db: Database, state: str) -> None:
    error = catch_error(background, db, state)
    assert isinstance(error, Failure)
    assert error.code is StatusCode.INVALID_ARGUMENT


def test_other_sqlstates_are_unexpected_errors(background: Background, db: Database) -> None:
    no_errors = ("00", "01", "02")
    others = [state for state in STATES if not state.startswith((*ENVIRONMENT, *VALUES, *no_errors))]
    assert [
        state for state in others if not isinstance(catch_error(background, db, state), asyncpg.PostgresError)
    ] == []


def test_every_listed_sqlstate_exists() -> None:
    assert [entry for entry in FAILURES if not any(state.startswith(entry) for state in STATES)] == []


def test_statement_timeout_is_reported_as_too_slow(background: Background, new_database: Callable[[str], str]) -> None:
    url = f"{new_database('billing')}?statement_timeout=50"
    with pytest.raises(Failure) as failure:
        background.run(sleep(url))
    assert (failure.value.code, failure.value.reason) == (StatusCode.DEADLINE_EXCEEDED, "CALL_TOO_SLOW")


def test_terminated_idle_transaction_can_be_retried(background: Background, new_database: Callable[[str], str]) -> None:
    url = f"{new_database('billing')}?idle_in_transaction_session_timeout=50"
    with pytest.raises(DependencyUnavailable):
        background.run(idle(url))


def test_read_only_database_is_not_ready(background: Background, new_database: Callable[[str], str]) -> None:
    url = new_database("billing")
    with background.during(open_database(url)) as db:
        background.run(db.ready())
    with background.during(open_database(f"{url}?default_transaction_read_only=on")) as db:
        with pytest.raises(DependencyUnavailable):
            background.run(db.ready())
        with pytest.raises(DependencyUnavailable):
            background.run(db.rows(Statement(text("DELETE FROM accounts"))))


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as db:
        yield db


async def sleep(url: str) -> None:
    async with Database(url) as db:
        await db.row(Statement(select(func.pg_sleep(5))))


async def idle(url: str) -> None:
    async with Database(url) as db, db.begin() as tx:
        await tx.row(Statement(select(func.now())))
        await asyncio.sleep(0.5)
        await tx.row(Statement(select(func.now())))
