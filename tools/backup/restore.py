"""Restores a backup into an empty data folder."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from deploy.databases import create_databases, owner_url
from deploy.errors import StartError
from deploy.settings import EMBEDDED, Settings
from deploy.topology import TOPOLOGY, database_name
from services.patient.erasure_list import ErasureList, import_erasures
from tools.backup.databases import create_client, load_database
from tools.backup.folder import ARCHIVES, Backup, read_secrets, secrets_path
from tools.backup.local import read_passwords, run_server
from tools.local.data_folder import DataFolder
from tools.local.migrations import Migrations
from tools.local.postgres import find_programs


async def restore_backup(
    settings: Settings, backup: Backup, erasures: ErasureList | None, secrets_file: Path | None
) -> None:
    """Restores a backup, and adds newer erasures. The data folder appears only when all is restored.

    Raises StartError, SettingsError.
    """
    unfinished = _choose_folder(settings.data_dir)
    secrets = find_secrets(backup, secrets_file)
    with DataFolder.lock(unfinished) as folder:
        for name, value in secrets.items():
            folder.secret(name, value)
        folder.mark_password_shown()
        _restore_archives(backup, unfinished / ARCHIVES)
        async with run_server(settings, folder) as server:
            await _restore_databases(settings, folder, server, backup)
            if erasures:
                password = read_passwords(folder)["patient"]
                await import_erasures(owner_url(server, "patient", password), erasures)
    unfinished.rename(settings.data_dir)


def _choose_folder(data: Path) -> Path:
    """Returns the folder that becomes the data folder at the end. Raises StartError if that is not empty."""
    if data.exists() and any(data.iterdir()):
        raise StartError(f"The data folder {data} is not empty. Set PULSETRACK_DATA_DIR to a new folder.")
    unfinished = data.with_name(f"{data.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    return unfinished


def find_secrets(backup: Backup, file: Path | None) -> Mapping[str, str]:
    """Reads the secrets of a backup from a file, or from the file next to its folder. Raises StartError."""
    path = file or secrets_path(backup.folder, encrypted=backup.identity is not None)
    if not path.exists():
        raise StartError(f"The secrets of the backup are not in {path}. Name their file: SECRETS=...")
    return read_secrets(path, backup.identity)


def _restore_archives(backup: Backup, folder: Path) -> None:
    if backup.manifest.archives:
        folder.mkdir(mode=0o700)
    for archive in backup.manifest.archives:
        path = folder / Path(archive.file).name.removesuffix(".age")
        path.touch(mode=0o600)
        with path.open("wb") as file:
            backup.read(archive, file)


async def _restore_databases(settings: Settings, folder: DataFolder, server: str, backup: Backup) -> None:
    shared = settings.database_url != EMBEDDED
    if shared:
        await _check_server(server)
    passwords = read_passwords(folder)
    await create_databases(server, passwords, shared=shared)
    files = {}
    for dump in backup.manifest.databases:
        url = owner_url(server, dump.service, passwords[dump.service])
        await asyncio.to_thread(load_database, create_client(url, find_programs(None)), backup, dump)
        files[dump.service] = folder.secret(TOPOLOGY[dump.service].database_secrets.owner_url, url, keep=False)
    await Migrations(files, folder.logs / "migrations.log").run(restored=True)


async def _check_server(server: str) -> None:
    """Raises StartError if the server already has one of the databases."""
    connection = await asyncpg.connect(server)
    try:
        for name in map(database_name, TOPOLOGY):
            if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
                raise StartError(f"The server already has the database {name}.")
    finally:
        await connection.close()
