"""The pool of database connections."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import select, text

from services.common.errors import DependencyUnavailable
from services.common.postgres import pool as pools
from services.common.postgres.database import Database, Transaction
from services.common.postgres.pool import Pool
from services.common.postgres.statement import Statement
from services.common.settings import Switch
from tests.harness.background import Background
from tests.harness.embedded_postgres import query

PID = Statement(select(text("pg_backend_pid() AS pid")))
SLEEPING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"


@pytest.fixture(scope="module")
def url(new_database: Callable[[str], str]) -> str:
    """The URL of a database."""
    return new_database("billing")


@asynccontextmanager
async def open_pool(url: str, size: int = 3, idle_timeout: float = 300) -> AsyncIterator[Pool]:
    pool = Pool(url, size=size, idle_timeout=idle_timeout)
    pool.start()
    yield pool
    await pool.close()


async def backend(pool: Pool) -> int:
    """Uses a connection, and returns the process ID of its server process."""
    async with pool.connection() as connection:
        return await connection.fetchval("SELECT pg_backend_pid()")  # type: ignore[no-any-return]


async def sleep(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("SELECT pg_sleep(60)")


async def wait_until_running(url: str) -> None:
    """Waits until a statement of the database is sleeping."""
    async with asyncio.timeout(20):
        while not await query(url, SLEEPING):  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.01)


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a driver callback changes it
            await asyncio.sleep(0.01)


def test_connection_used_last_is_used_next(background: Background, url: str) -> None:
    async def run() -> None:
        async with open_pool(url) as pool:
            async with pool.connection(), pool.connection():
                await backend(pool)
            async with pool.connection() as last:
                pass
            assert pool.idle == 3
            assert await backend(pool) == last.get_server_pid()

    background.run(run())


def test_call_waits_for_a_connection(background: Background, url: str) -> None:
    async def run() -> None:
        async with open_pool(url, size=1) as pool:
            async with pool.connection() as connection:
                waiting = asyncio.create_task(backend(pool))
                await asyncio.sleep(0)
                assert not waiting.done()
                pid = connection.get_server_pid()
            assert await waiting == pid

    background.run(run())


def test_wait_for_a_connection_ends_after_the_timeout(
    background: Background, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with open_pool(url, size=1) as pool:
            async with pool.connection():
                with monkeypatch.context() as patch:
                    patch.setattr(pools, "_TIMEOUT", 0.1)
                    with pytest.raises(TimeoutError):
                        await backend(pool)
            assert await backend(pool)

    background.run(run())


def test_cancelled_wait_does_not_occupy_a_connection(background: Background, url: str) -> None:
    async def run() -> None:
        async with open_pool(url, size=1) as pool:
            async with pool.connection():
                waiting = asyncio.create_task(backend(pool))
                await asyncio.sleep(0)
                waiting.cancel()
            assert await backend(pool)

    background.run(run())


def test_cancelled_statement_is_cancelled_by_the_server(background: Background, url: str) -> None:
    async def run() -> None:
        async with open_pool(url, size=1) as pool:
            before = await backend(pool)
            sleeping = asyncio.create_task(sleep(pool))
            await wait_until_running(url)
            sleeping.cancel()
            assert await backend(pool) == before

    background.run(run())


def test_cancelled_transaction_is_rolled_back(background: Background, url: str) -> None:
    async def insert(pool: Pool) -> None:
        async with pool.connection() as connection, connection.transaction():
            await connection.execute("CREATE TABLE abandoned ()")
            await connection.execute("SELECT pg_sleep(60)")

    async def run() -> None:
        async with open_pool(url, size=1) as pool:
            inserting = asyncio.create_task(insert(pool))
            await wait_until_running(url)
            inserting.cancel()
            async with pool.connection() as connection:
                assert not connection.is_in_transaction()
        assert await query(url, "SELECT to_regclass('abandoned') IS NULL")

    background.run(run())


def test_connection_that_cannot_be_recovered_is_closed(
    background: Background, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with open_pool(url, size=1) as pool:
            before = await backend(pool)
            sleeping = asyncio.create_task(sleep(pool))
            await wait_until_running(url)
            monkeypatch.setattr(pools, "_TIMEOUT", 0)
            sleeping.cancel()
            await wait_until(lambda: pool.used == 0)
            monkeypatch.undo()
            assert await backend(pool) != before

    background.run(run())


@pytest.mark.parametrize("error", [asyncio.CancelledError, asyncpg.InternalClientError])
def test_connection_that_is_about_to_be_lost_is_replaced(
    background: Background, url: str, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """asyncpg raises InternalClientError between the last message of a server and the end of the connection."""

    async def execute(*_: object) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")

    async def fail(pool: Pool) -> None:
        async with pool.connection():
            raise error

    async def run() -> None:
        async with open_pool(url, size=1) as pool:
            before = await backend(pool)
            monkeypatch.setattr(asyncpg.Connection, "execute", execute)
            with pytest.raises(error):
                await fail(pool)
            await wait_until(lambda: pool.used == 0)
            assert await backend(pool) != before

    background.run(run())


def test_terminated_connection_is_replaced(background: Background, url: str) -> None:
    async def run() -> None:
        async with open_pool(url, size=1) as pool:
            before = await backend(pool)
            async with pool.connection() as connection:
                assert await query(url, f"SELECT pg_terminate_backend({before}, 10000)")
                await wait_until(connection.is_closed)
            assert await backend(pool) != before

    background.run(run())


def test_failed_statement_keeps_its_connection(background: Background, url: str) -> None:
    async def run() -> None:
        async with open_pool(url, size=1) as pool:
            before = await backend(pool)
            with pytest.raises(asyncpg.DivisionByZeroError):
                async with pool.connection() as connection:
                    await connection.execute("SELECT 1/0")
            assert await backend(pool) == before

    background.run(run())


def test_connection_with_an_open_transaction_is_closed(background: Background, url: str) -> None:
    async def run() -> None:
        async with open_pool(url, size=1) as pool:
            async with pool.connection() as connection:
                await connection.execute("BEGIN")
            assert connection.is_closed()
            assert await backend(pool)

    background.run(run())


def test_connections_to_a_demoted_primary_are_closed(background: Background, url: str) -> None:
    async def run() -> None:
        async with open_pool(f"{url}?default_transaction_read_only=on") as pool:
            async with pool.connection(), pool.connection():
                pass
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                async with pool.connection() as connection:
                    await connection.execute("CREATE TABLE unwanted ()")
            assert pool.idle == 0

    background.run(run())


def test_failed_write_to_a_demoted_primary_closes_all_connections(background: Background, url: str) -> None:
    """The pool receives the failure that the error of the server has become."""

    async def find_pid(db: Database | Transaction) -> object:
        row = await db.row(PID)
        return row and row["pid"]

    async def run() -> None:
        async with Database(f"{url}?default_transaction_read_only=on") as db:
            async with db.begin() as tx:
                before = {await find_pid(tx), await find_pid(db)}
            with pytest.raises(DependencyUnavailable):
                await db.row(Statement(text("DELETE FROM accounts")))
            async with db.begin() as tx:
                assert not before & {await find_pid(tx), await find_pid(db)}

    background.run(run())


@pytest.mark.parametrize(("setting", "expected"), [("on", True), ("off", False)])
def test_statements_are_prepared_only_if_the_setting_is_on(
    background: Background, url: str, setting: Switch, *, expected: bool
) -> None:
    named = Statement(select(text("count(*) > 0")).select_from(text("pg_prepared_statements")))

    async def run() -> None:
        async with Database(url, prepared_statements=setting) as db, db.begin() as tx:
            assert await tx.row(named) == (expected,)

    background.run(run())


def test_idle_connections_are_closed(background: Background, url: str) -> None:
    async def run() -> None:
        async with open_pool(url, idle_timeout=0.05) as pool:
            async with pool.connection(), pool.connection(), pool.connection():
                pass
            await wait_until(lambda: pool.idle == 0)

    background.run(run())


def test_closed_pool_rejects_calls(background: Background, url: str) -> None:
    async def run() -> None:
        async with open_pool(url) as pool:
            await backend(pool)
        with pytest.raises(asyncpg.InterfaceError):
            await backend(pool)
        assert (pool.idle, pool.used) == (0, 0)

    background.run(run())


def test_close_waits_for_connections_in_use(background: Background, url: str) -> None:
    async def run() -> None:
        pool = Pool(url, size=2)
        pool.start()
        async with pool.connection() as connection:
            closing = asyncio.create_task(pool.close())
            await asyncio.sleep(0.05)
            assert await connection.fetchval("SELECT 1") == 1
            assert not closing.done()
        await closing
        assert connection.is_closed()

    background.run(run())
