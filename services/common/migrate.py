"""Brings a service's database to the newest version of its tables: `python -m services.common.migrate patient`."""

import argparse
import asyncio
import sys
from pathlib import Path

import asyncpg

from services.common.settings import DatabaseSettings, SettingsError

_SERVICES = Path(__file__).resolve().parents[1]


def main() -> None:
    """Reads the service's name from the command line and the database's address from PULSETRACK_DATABASE_URL."""
    parser = argparse.ArgumentParser(prog="python -m services.common.migrate", description=__doc__)
    parser.add_argument("service", choices=sorted(path.parent.name for path in _SERVICES.glob("*/migrations")))
    service = parser.parse_args().service
    try:
        migrate(service, DatabaseSettings.read().database_url)
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


async def _version(url: str) -> str | None:
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except ValueError:  # whose text could quote a part of the password
        raise SettingsError("PULSETRACK_DATABASE_URL is no URL") from None
    try:
        if not await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"):
            return None
        return await connection.fetchval("SELECT version_num FROM alembic_version")  # type: ignore[no-any-return]
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
