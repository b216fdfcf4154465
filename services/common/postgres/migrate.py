"""Migrates a service's database to the newest version: `python -m services.common.postgres.migrate patient`.

The role that migrates owns the tables. The service runs as another role, with the privileges that it declares.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from ssl import SSLError
from typing import TYPE_CHECKING, Annotated

import asyncpg
from msgspec import Meta

from services.common.postgres.incarnation import follow_database
from services.common.postgres.privileges import READ_ONLY, Privileges
from services.common.settings import DatabaseSettings, SettingsError

if TYPE_CHECKING:
    from alembic.config import Config

_SERVICES = Path(__file__).resolve().parents[2]

_GRANTS = """
    SELECT format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', $1::text)
    UNION ALL
    SELECT format('GRANT %s ON public.%I TO %I', privileges, name, $1::text)
    FROM unnest($2::text[], $3::text[]) AS declared (name, privileges)
"""


class MigrationSettings(DatabaseSettings, frozen=True, kw_only=True):
    """The settings of a migration. The database URL is that of the tables' owner."""

    database_role: Annotated[str, Meta(description="Database role of the service, if it does not own the tables.")] = ""


def main() -> None:
    """Migrates the service that the command line names. The settings come from the environment."""
    parser = argparse.ArgumentParser(prog="python -m services.common.postgres.migrate", description=__doc__)
    parser.add_argument("service", choices=sorted(path.parent.name for path in _SERVICES.glob("*/migrations")))
    parser.add_argument("--restored", action="store_true", help="the server was restored from a physical backup")
    options = parser.parse_args()
    service: str = options.service
    try:
        settings = MigrationSettings.read()
        migrate(service, settings.database_url)
        if asyncio.run(detect_restore(settings.database_url, restored=options.restored)):
            sys.stdout.write(f"The database of {service} was restored: a new incarnation begins.\n")
        if settings.database_role:
            asyncio.run(grant_privileges(service, settings.database_url, settings.database_role))
    except (SettingsError, OSError, asyncpg.PostgresError) as error:
        sys.exit(f"Cannot migrate the database of {service}: {str(error) or type(error).__name__}")


def migrate(service: str, url: str, *, to: str = "") -> None:
    """Runs the pending migrations, up to a version if one is given.

    Must not be called from a running event loop. Raises SettingsError.
    """
    to = to or _newest_version(service)
    if asyncio.run(_read_version(url)) == to:
        return
    # Imported only if a migration is pending, because the import takes longer than the check.
    from alembic import command  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = configure_alembic(service)
    config.attributes["url"] = url.replace("postgresql://", "postgresql+asyncpg://", 1)
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise SettingsError(f"this program does not support the version of its tables: {error}") from None


def configure_alembic(service: str) -> "Config":
    """Returns the configuration of Alembic for the migrations of a service."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(_SERVICES / service / "migrations"))
    return config


async def is_current(service: str, url: str) -> bool:
    """Returns whether a service's database has the newest version. Raises SettingsError."""
    return await _read_version(url) == _newest_version(service)


async def detect_restore(url: str, *, restored: bool = False) -> bool:
    """Begins a new incarnation of the database if it was restored, or if `restored` says so. Returns whether it did."""
    async with connect(url) as connection:
        return await follow_database(connection, restored=restored)


async def grant_privileges(service: str, url: str, role: str) -> None:
    """Grants a role the privileges that a service declares, and revokes all others that it has on tables."""
    declared: Privileges = import_module(f"services.{service}.privileges").PRIVILEGES
    privileges = {"alembic_version": READ_ONLY, **declared}
    async with connect(url) as connection, connection.transaction():
        for [statement] in await connection.fetch(_GRANTS, role, list(privileges), list(privileges.values())):
            await connection.execute(statement)


def _newest_version(service: str) -> str:
    return max(path.stem.split("_")[0] for path in (_SERVICES / service / "migrations").glob("[0-9]*.py"))


async def _read_version(url: str) -> str | None:
    async with connect(url) as connection:
        if not await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"):
            return None
        return await connection.fetchval("SELECT version_num FROM alembic_version")  # type: ignore[no-any-return]


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Yields a connection of an operator's program. Raises SettingsError for an invalid URL."""
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except SSLError:  # some are ValueErrors
        raise
    except ValueError:  # its text could quote a part of the password
        raise SettingsError("PULSETRACK_DATABASE_URL is not a URL") from None
    try:
        yield connection
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
