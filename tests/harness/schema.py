"""The tables of a migrated database, compared with the models of its service."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


async def run_on(url: str, function: Callable[[Connection], Any]) -> Any:
    """Runs a function with a connection to a database, and commits."""
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:", 1), poolclass=NullPool)
    async with engine.connect() as connection:
        result = await connection.run_sync(function)
        await connection.commit()
        return result


async def find_differences(service: str, url: str) -> Any:
    """Returns the differences between a database and the models of a service."""
    tables = import_module(f"services.{service}.models").metadata
    assert tables.tables

    def compare(connection: Connection) -> Any:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return compare_metadata(context, tables)

    return await run_on(url, compare)
