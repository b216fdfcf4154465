"""Runs the migrations of a service in one transaction. A lock serializes concurrent processes.

A migration waits for the lock of a table for two seconds only, because all later statements on the table wait behind
it. It is then rolled back and repeated. The lock and the timeout belong to the session: `concurrently.py` commits the
transaction.
"""

import asyncio
import logging

import asyncpg
from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from services.common.postgres.alembic.concurrently import LOCK_TIMEOUT_MS

_LOCK = 7_081_301  # any number, the same in all processes
_ATTEMPTS = 30
_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


def _migrate(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
    connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_MS}"))
    connection.commit()
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


async def _attempt(url: str) -> None:
    """Runs the migrations. Raises asyncpg.LockNotAvailableError."""
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate)
            await connection.commit()
    except DBAPIError as error:
        cause = error.orig and error.orig.__cause__
        if isinstance(cause, asyncpg.LockNotAvailableError):
            raise cause from None
        raise
    finally:
        await engine.dispose()


async def _run(url: str) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await _attempt(url)
        except asyncpg.LockNotAvailableError as error:
            if attempt == _ATTEMPTS:
                raise
            _log.warning("another transaction uses a table, repeating the migration: %s", error)
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            break


def _print() -> None:
    """Prints the statements of migrations that read no data, without a database."""
    context.configure(dialect_name="postgresql", literal_binds=True)
    context.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    _print()
else:
    asyncio.run(_run(context.config.attributes["url"]))
