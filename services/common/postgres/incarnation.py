"""Incarnations of a database: each begins when the database is created, or restored from a backup.

Journals are ordered by transaction numbers, which every server counts by itself. An incarnation adds a constant to the
numbers of its server, so its rows follow those of all earlier incarnations. Outbox rows are delivered again, because
the receivers may have been restored to an earlier moment. Only the owner of the tables can begin an incarnation.
"""

import time

import asyncpg
from sqlalchemy import BigInteger, Column, DateTime, Identity, MetaData, Table, Text, func

_SERVER = "SELECT system_identifier::text FROM pg_control_system()"
_DATABASE = "SELECT oid::text FROM pg_database WHERE datname = current_database()"

_LAST = "SELECT database FROM incarnations ORDER BY number DESC LIMIT 1"
_NUMBERED_TABLES = """
    SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'transaction'
"""
_CREATE_FUNCTION = """
    CREATE OR REPLACE FUNCTION journal_number(transaction xid8) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN transaction::text::bigint + {shift}
"""
_DELIVER_AGAIN = "UPDATE outbox SET delivered_time = NULL, due_time = clock_timestamp(), attempts = 0"


def incarnations_table(metadata: MetaData) -> Table:
    """Adds the table of incarnations to a service's tables."""
    return Table(
        "incarnations",
        metadata,
        Column("number", BigInteger, Identity(always=True), primary_key=True),
        Column("database", Text, nullable=False),
        Column("shift", BigInteger, nullable=False),
        Column("begin_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


async def follow_database(connection: asyncpg.Connection, *, restored: bool = False) -> bool:
    """Begins a new incarnation if the database was restored from a dump, or if `restored` says that it was restored.

    Runs after the migrations and before the service. Returns whether a new incarnation of earlier data has begun.
    """
    async with connection.transaction():
        await connection.execute("LOCK TABLE incarnations IN EXCLUSIVE MODE")
        database, known = await _identify(connection), await connection.fetchval(_LAST)
        if database == known and not restored:
            return False
        last = await _find_last_number(connection)
        following = await _find_transaction(connection)  # assigned after that: higher than all numbers of this server
        has_continued = not known and not restored and last < following
        shift = 0 if has_continued else max(last + 1, time.time_ns() // 1000) - following
        await connection.execute(_CREATE_FUNCTION.format(shift=shift))
        await connection.execute("INSERT INTO incarnations (database, shift) VALUES ($1, $2)", database, shift)
        if not has_continued and await connection.fetchval("SELECT to_regclass('outbox') IS NOT NULL"):
            await connection.execute(_DELIVER_AGAIN)
        return not has_continued


async def _identify(connection: asyncpg.Connection) -> str:
    """Returns what identifies a database on a server. It differs after the restore of a dump, not of a physical backup.

    A managed server may keep its identifier from users. The database is then identified by its number alone.
    """
    try:
        async with connection.transaction():
            server = await connection.fetchval(_SERVER)
    except asyncpg.InsufficientPrivilegeError:
        server = ""
    return f"{server}/{await connection.fetchval(_DATABASE)}"


async def _find_last_number(connection: asyncpg.Connection) -> int:
    """Returns the highest transaction number in the journals and in the seals."""
    numbers = [
        await connection.fetchval(f'SELECT coalesce(max(transaction), 0) FROM "{table}"')  # noqa: S608
        for [table] in await connection.fetch(_NUMBERED_TABLES)
    ]
    return max(numbers, default=0)


async def _find_transaction(connection: asyncpg.Connection) -> int:
    """Returns the number of the current transaction as the server counts it."""
    return int(await connection.fetchval("SELECT pg_current_xact_id()::text"))
