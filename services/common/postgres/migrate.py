"""Migrates a service's database to the newest version: `python -m services.common.postgres.migrate patient`.

Who migrates owns the tables. The service itself runs as another role, which is granted what it needs and no more.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLError
from typing import Annotated

import asyncpg
from msgspec import Meta

from services.common.settings import DatabaseSettings, SettingsError

_SERVICES = Path(__file__).resolve().parents[2]

APPEND_ONLY = "append-only"
"""The comment of a table to which a service may only add."""

_GRANTS = """
    SELECT format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', $1::text)
    UNION ALL
    SELECT format(
        'GRANT %s ON %I TO %I',
        CASE
            WHEN relname = 'alembic_version' THEN 'SELECT'
            WHEN obj_description(oid) = $2 THEN 'SELECT, INSERT'
            ELSE 'SELECT, INSERT, UPDATE, DELETE'
        END,
        relname,
        $1::text
    )
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
"""


class MigrationSettings(DatabaseSettings, frozen=True, kw_only=True):
    """The settings of a migration. The database URL is that of the tables' owner."""

    database_role: Annotated[str, Meta(description="Database role of the service, if it does not own the tables.")] = ""


def main() -> None:
    """Reads the service's name from the command line, and the rest from the environment."""
    parser = argparse.ArgumentParser(prog="python -m services.common.postgres.migrate", description=__doc__)
    parser.add_argument("service", choices=sorted(path.parent.name for path in _SERVICES.glob("*/migrations")))
    service = parser.parse_args().service
    try:
        settings = MigrationSettings.read()
        migrate(service, settings.database_url)
        if settings.database_role:
            asyncio.run(grant_privileges(settings.database_url, settings.database_role))
    except (SettingsError, OSError, asyncpg.PostgresError) as error:
        sys.exit(f"The database of {service} cannot be migrated: {str(error) or type(error).__name__}")


def migrate(service: str, url: str, *, to: str = "") -> None:
    """Runs the migrations that the database lacks, all of them or those up to a version.

    Must not be called from a running event loop.
    """
    migrations = _SERVICES / service / "migrations"
    to = to or max(path.stem.split("_")[0] for path in migrations.glob("[0-9]*.py"))
    if asyncio.run(_version(url)) == to:
        return
    # Imported only when there is something to do: it takes longer than to see that there is nothing.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(migrations))
    config.attributes["url"] = url.replace("postgresql://", "postgresql+asyncpg://", 1)
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise SettingsError(f"its tables are of a version that this program does not know: {error}") from None


async def grant_privileges(url: str, role: str) -> None:
    """Lets a role read and write the tables' rows, and only add to tables whose comment says that they are append-only.

    What it was granted before on tables is taken away.
    """
    async with _connected(url) as connection, connection.transaction():
        for [statement] in await connection.fetch(_GRANTS, role, APPEND_ONLY):
            await connection.execute(statement)


async def _version(url: str) -> str | None:
    async with _connected(url) as connection:
        if not await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"):
            return None
        return await connection.fetchval("SELECT version_num FROM alembic_version")  # type: ignore[no-any-return]


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except SSLError:  # some are ValueErrors
        raise
    except ValueError:  # whose text could quote a part of the password
        raise SettingsError("PULSETRACK_DATABASE_URL is no URL") from None
    try:
        yield connection
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
