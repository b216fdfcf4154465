"""Restores a backup on a database server. The present databases are renamed, and can be deleted later."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import asyncpg

from deploy.databases import owner_url
from deploy.errors import StartError
from deploy.topology import MIGRATIONS, TOPOLOGY, database_name
from services.patient.erasure_list import ErasureList, import_erasures
from tools.backup.cloud.settings import MaintenanceSettings
from tools.backup.databases import create_client, load_database
from tools.backup.folder import Backup

_REPLACED = "_replaced_"
_LIST = r"SELECT datname FROM pg_database WHERE datname LIKE 'pulsetrack\_%\_replaced\_%' ORDER BY datname"


def restore_backup(settings: MaintenanceSettings, backup: Backup, erasures: ErasureList | None) -> list[str]:
    """Restores a backup, and adds newer erasures. If that fails, the present databases keep their names.

    Returns the new names of the databases that it replaces. Raises StartError, SettingsError.
    """
    server = settings.database_url
    suffix = f"{_REPLACED}{datetime.now(UTC):%Y%m%dt%H%M%Sz}"
    replaced = asyncio.run(_rename(server, {name: name + suffix for name in map(database_name, TOPOLOGY)}))
    try:
        _load(settings, backup)
        if erasures:
            repeat_erasures(settings, erasures)
    except BaseException:
        asyncio.run(_put_back(server, suffix, replaced))
        raise
    return replaced


def repeat_erasures(settings: MaintenanceSettings, known: ErasureList) -> None:
    """Makes the patient service repeat the erasures of a list. Raises SettingsError."""
    url = owner_url(settings.database_url, "patient", settings.passwords()["patient"])
    asyncio.run(import_erasures(url, known))


async def discard_replaced(server: str) -> list[str]:
    """Deletes the databases that restores have renamed, and returns their names."""
    connection = await asyncpg.connect(server, timeout=10)
    try:
        names = [row["datname"] for row in await connection.fetch(_LIST)]
        for name in names:
            await connection.execute(f'DROP DATABASE "{name}"')
        return names
    finally:
        await connection.close()


async def _rename(server: str, names: Mapping[str, str]) -> list[str]:
    """Renames those databases that exist, all or none. Returns their new names. Raises StartError."""
    connection = await asyncpg.connect(server, timeout=10)
    try:
        existing = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
        async with connection.transaction():
            for old, new in names.items():
                if old in existing:
                    await connection.execute(f'ALTER DATABASE "{old}" RENAME TO "{new}"')
        return [new for old, new in names.items() if old in existing]
    except asyncpg.ObjectInUseError:
        raise StartError("The databases are in use. Stop the services first.") from None
    finally:
        await connection.close()


async def _put_back(server: str, suffix: str, replaced: list[str]) -> None:
    """Deletes incomplete databases and gives the previous ones their names again."""
    connection = await asyncpg.connect(server, timeout=10)
    try:
        for name in map(database_name, TOPOLOGY):
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()
    await _rename(server, {name: name.removesuffix(suffix) for name in replaced})


def _load(settings: MaintenanceSettings, backup: Backup) -> None:
    """Creates the databases, loads the dumps and begins a new incarnation of each database. Raises StartError."""
    server, passwords = settings.database_url, settings.passwords()
    asyncio.run(settings.create_databases())
    for dump in backup.manifest.databases:
        url = owner_url(server, dump.service, passwords[dump.service])
        load_database(create_client(url), backup, dump)
        variables = {"PULSETRACK_DATABASE_URL": url, "PULSETRACK_DATABASE_ROLE": database_name(dump.service)}
        command = [sys.executable, "-m", MIGRATIONS, dump.service, "--restored"]
        if subprocess.run(command, env=os.environ | variables, check=False).returncode:
            raise StartError(f"The database of {dump.service} was restored, but could not be migrated.")
