"""Creates a backup of all databases."""

import asyncio
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from deploy.errors import StartError
from deploy.settings import Settings
from tools.backup.age import Recipient
from tools.backup.databases import dump, hold_snapshot, read_postgres_version
from tools.backup.folder import (
    SECRETS,
    Dump,
    Manifest,
    compute_sha256,
    create_file,
    read_version,
    secrets_path,
    write_manifest,
    write_secrets,
)
from tools.backup.local import open_databases
from tools.local.postgres import find_programs

ORDER = ("billing", "analytics", "patient", "auth")
"""The order of the dumps: receivers before senders.

The patient service delivers again what it delivered between two dumps. If it was dumped first, billing and analytics
could know patients that it has lost. Auth is last, so it knows all users that the others refer to.
"""


async def create_backup(settings: Settings, folder: Path, recipient: Recipient | None) -> tuple[Manifest, Path]:
    """Writes a backup to a new folder. Returns its manifest, and the path of the secrets. Raises StartError."""
    secrets = secrets_path(folder, encrypted=recipient is not None)
    unfinished = _create_folder(folder, secrets)
    begin = datetime.now(UTC)
    async with open_databases(settings) as urls:
        dumps = [await _dump(unfinished, service, urls, recipient) for service in ORDER]
    manifest = Manifest(
        version=read_version(),
        postgres=read_postgres_version(find_programs(None)),
        begin_time=begin,
        end_time=datetime.now(UTC),
        recipient=str(recipient or ""),
        databases=dumps,
    )
    write_manifest(unfinished, manifest)
    write_secrets(secrets, _read_secrets(settings), recipient)
    unfinished.rename(folder)
    return manifest, secrets


def _create_folder(folder: Path, secrets: Path) -> Path:
    """Creates a folder that is renamed when the backup is complete. Raises StartError if the backup exists."""
    for path in (folder, secrets):
        if path.exists():
            raise StartError(f"{path} already exists. Set TO to a new folder.")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    return unfinished


async def _dump(folder: Path, service: str, urls: Mapping[str, str], recipient: Recipient | None) -> Dump:
    path = folder / f"{service}.dump{'.age' if recipient else ''}"
    async with hold_snapshot(urls[service]) as snapshot:
        with create_file(path, recipient) as file:
            await asyncio.to_thread(dump, find_programs(None), urls[service], snapshot.name, file)
    return Dump(
        service=service,
        time=snapshot.time,
        schema=snapshot.schema,
        rows=snapshot.rows,
        file=path.name,
        size=path.stat().st_size,
        sha256=compute_sha256(path),
    )


def _read_secrets(settings: Settings) -> Mapping[str, str]:
    folder = settings.data_dir / "secrets"
    return {name: (folder / name).read_text(encoding="utf-8") for name in SECRETS}
