"""Creates a backup of all databases."""

import asyncio
import io
import shutil
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from pyrage.x25519 import Recipient

from deploy.errors import StartError
from tools.backup.databases import Client, dump, hold_snapshot
from tools.backup.folder import (
    OPTIONAL_SECRETS,
    SECRETS,
    Dump,
    Manifest,
    StoredErasures,
    StoredFile,
    read_version,
    secrets_path,
    write_file,
    write_manifest,
    write_secrets,
)

ORDER = ("billing", "analytics", "patient", "auth")
"""The order of the dumps: receivers before senders.

The patient service delivers again what it delivered between two dumps. If it was dumped first, billing and analytics
could know patients that it has lost. Auth is last, so it knows all users that the others refer to.
"""


async def create_backup(
    databases: AbstractAsyncContextManager[Mapping[str, Client]],
    secrets: Path | None,
    folder: Path,
    recipient: Recipient | None,
    *,
    archives: Path | None = None,
) -> tuple[Manifest, Path | None]:
    """Writes a backup of databases and, if their folders are given, of the secrets and the audit log's archives.

    Fails if an archive is written meanwhile, whose events may be missing in the dumps.

    Returns its manifest, and the path of the secrets' file. Raises StartError.
    """
    secrets_file = secrets_path(folder, encrypted=recipient is not None) if secrets else None
    unfinished = _create_folder(folder, secrets_file)
    begin = datetime.now(UTC)
    found = _list_archives(archives)
    copies = [_copy(path, unfinished, recipient) for path in found]
    async with databases as clients:
        dumps = [await asyncio.to_thread(_dump, unfinished, service, clients[service], recipient) for service in ORDER]
    if _list_archives(archives) != found:
        raise StartError("The audit log was archived during the backup. Repeat the backup.")
    manifest = Manifest(
        version=read_version(),
        begin_time=begin,
        end_time=datetime.now(UTC),
        recipient=str(recipient or ""),
        databases=dumps,
        archives=copies,
    )
    write_manifest(unfinished, manifest)
    if secrets and secrets_file:
        write_secrets(secrets_file, _read_secrets(secrets), recipient)
    unfinished.rename(folder)
    return manifest, secrets_file


def _read_secrets(folder: Path) -> dict[str, str]:
    names = SECRETS | {name for name in OPTIONAL_SECRETS if (folder / name).exists()}
    return {name: (folder / name).read_text(encoding="utf-8") for name in names}


def _list_archives(folder: Path | None) -> list[Path]:
    """Returns the archives in a folder, and their signatures."""
    return sorted(
        path for pattern in ("*.jsonl.gz", "*.jsonl.gz.sig") for path in (folder.glob(pattern) if folder else ())
    )


def _create_folder(folder: Path, secrets: Path | None) -> Path:
    """Creates a folder that is renamed when the backup is complete. Raises StartError if the backup exists."""
    for path in (folder, secrets):
        if path and path.exists():
            raise StartError(f"{path} already exists. Set TO to a new folder.")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    return unfinished


def _dump(folder: Path, service: str, client: Client, recipient: Recipient | None) -> Dump:
    suffix = ".age" if recipient else ""
    path = folder / f"{service}.dump{suffix}"
    with hold_snapshot(client) as snapshot:
        dump(client, snapshot, path, recipient)
    known = snapshot.erasures
    if known:
        write_file(folder / f"erasures.json{suffix}", io.BytesIO(msgspec.json.encode(known)), recipient)
    return Dump.describe(
        path,
        service=service,
        time=snapshot.time,
        postgres=snapshot.postgres,
        schema=snapshot.schema,
        rows=snapshot.rows,
        erasures=StoredErasures.describe(folder / f"erasures.json{suffix}", origin=known.origin) if known else None,
    )


def _copy(path: Path, folder: Path, recipient: Recipient | None) -> StoredFile:
    copy = folder / f"{path.name}{'.age' if recipient else ''}"
    with path.open("rb") as source:
        write_file(copy, source, recipient)
    return StoredFile.describe(copy)
