"""The lists of erasures in backups. A restored database repeats the erasures of a newer list."""

import io
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from pyrage.x25519 import Identity

from deploy.errors import StartError
from services.patient.erasure_list import ErasureList
from tools.backup.folder import (
    MANIFEST,
    Backup,
    Dump,
    StoredErasures,
    check_file,
    read_file,
    read_manifest,
)


class _List(NamedTuple):
    path: Path
    time: datetime
    stored: StoredErasures
    recipient: str


def find_erasures(backup: Backup, file: Path | None) -> ErasureList | None:
    """Returns the list in a file, or by default the newest list in the folders next to that of a backup.

    By default, returns None if no list of the same system is newer than the backup. Raises StartError.
    """
    restored = next(dump for dump in backup.manifest.databases if dump.service == "patient")
    if file is None:
        return find_newest_erasures(backup.folder.resolve().parent, backup.identity, restored)
    found = _read_list(file, backup.identity if file.suffix == ".age" else None)
    if found.time <= restored.time:
        raise StartError(f"{file} is not newer than the backup. Name a newer list: ERASURES=...")
    return found


def find_newest_erasures(parent: Path, identity: Identity | None, restored: Dump | None = None) -> ErasureList | None:
    """Returns the newest list in the folders of backups, if any is newer than a dump. Raises StartError."""
    found = [each for each in _find_lists(parent) if restored is None or _is_newer(each, restored)]
    if not found:
        return None
    path, _, stored, recipient = max(found, key=lambda each: each.time)
    check_file(path, stored)
    if recipient and (identity is None or str(identity.to_public()) != recipient):
        raise StartError(f"{path} is encrypted to {recipient}. Decrypt it, and name the decrypted file: ERASURES=...")
    return _read_list(path, identity if recipient else None)


def describe_erasures(known: ErasureList | None) -> str:
    """Returns which erasures a restored system repeats."""
    if known is None:
        return "No newer list of erasures is used. Patients that were erased after the backup are present again."
    return f"The patient service repeats the erasures that were requested until {known.time:%Y-%m-%d %H:%M:%S} UTC."


def _find_lists(parent: Path) -> Iterator[_List]:
    """Yields the lists of all backups in a folder. Ignores what is not a backup."""
    for path in parent.glob(f"*/{MANIFEST}"):
        with suppress(StartError):
            manifest = read_manifest(path.parent)
            for dump in manifest.databases:
                if stored := dump.erasures:
                    yield _List(path.with_name(Path(stored.file).name), dump.time, stored, manifest.recipient)


def _is_newer(found: _List, restored: Dump) -> bool:
    """Returns whether a list is newer than a dump, and not that of another system, as far as the dump tells."""
    is_same = restored.erasures is None or restored.erasures.origin == found.stored.origin
    return is_same and found.time > restored.time


def _read_list(path: Path, identity: Identity | None) -> ErasureList:
    content = io.BytesIO()
    read_file(path, content, identity)
    try:
        return msgspec.json.decode(content.getvalue(), type=ErasureList)
    except ValueError as error:
        raise StartError(f"{path} is not a list of erasures: {error}.") from None
