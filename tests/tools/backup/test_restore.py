"""Backups that cannot be restored are rejected before anything is created."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import MagicMock

import msgspec
import pytest
from pyrage.x25519 import Identity

from deploy.errors import StartError
from deploy.settings import Settings
from tools.backup import create
from tools.backup.create import ORDER, create_backup
from tools.backup.databases import Client
from tools.backup.folder import (
    SECRETS,
    Dump,
    Manifest,
    open_backup,
    secrets_path,
    write_file,
    write_manifest,
    write_secrets,
)
from tools.backup.local import open_databases
from tools.backup.restore import restore_backup

NOW = datetime(2026, 11, 27, tzinfo=UTC)
KEY = Identity.generate()


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """The folder of an encrypted backup, whose dumps have no valid content."""
    folder = tmp_path / "backup"
    folder.mkdir()
    dumps = []
    for service in ORDER:
        path = folder / f"{service}.dump.age"
        write_file(path, io.BytesIO(b"a dump"), KEY.to_public())
        dumps.append(Dump.describe(path, service=service, time=NOW, postgres="18.0", schema="0001", rows={}))
    manifest = Manifest(
        version="9.9.9",
        begin_time=NOW,
        end_time=NOW,
        recipient=str(KEY.to_public()),
        databases=dumps,
    )
    write_manifest(folder, manifest)
    write_secrets(secrets_path(folder, encrypted=True), dict.fromkeys(SECRETS, "a-secret"), KEY.to_public())
    return folder


def restore(backup: Path, *, key: Identity | None = KEY, secrets: Path | None = None) -> Path:
    """Restores a backup into a new data folder."""
    data = backup.with_name("data")
    asyncio.run(restore_backup(Settings(data_dir=data), open_backup(backup, key), None, secrets))
    return data


def change_manifest(backup: Path, change: Callable[[Manifest], None]) -> None:
    """Changes the manifest of a backup."""
    manifest = msgspec.json.decode((backup / "manifest.json").read_bytes(), type=Manifest)
    change(manifest)
    write_manifest(backup, manifest)


def test_data_folder_that_is_not_empty_is_rejected(backup: Path) -> None:
    backup.with_name("data").mkdir()
    (backup.with_name("data") / "state.json").touch()
    with pytest.raises(StartError, match="not empty"):
        restore(backup)


def test_wrong_key_is_rejected(backup: Path) -> None:
    with pytest.raises(StartError, match="The key is that of age1"):
        restore(backup, key=Identity.generate())


def test_encrypted_backup_requires_the_key(backup: Path) -> None:
    with pytest.raises(StartError, match="is encrypted"):
        restore(backup, key=None)


def test_damaged_file_is_rejected(backup: Path) -> None:
    path = backup / "patient.dump.age"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StartError, match=r"patient\.dump\.age is damaged"):
        restore(backup)


def test_missing_file_is_rejected(backup: Path) -> None:
    (backup / "auth.dump.age").unlink()
    with pytest.raises(StartError, match=r"auth\.dump\.age cannot be read"):
        restore(backup)


def test_tables_of_a_newer_version_are_rejected(backup: Path) -> None:
    def use_newer_tables(manifest: Manifest) -> None:
        manifest.databases[0].schema = "9999"

    change_manifest(backup, use_newer_tables)
    with pytest.raises(StartError, match=r"version 9999.*version 9\.9\.9 or later"):
        restore(backup)


def test_format_of_another_version_is_rejected(backup: Path) -> None:
    def use_newer_format(manifest: Manifest) -> None:
        manifest.format = 2

    change_manifest(backup, use_newer_format)
    with pytest.raises(StartError, match="format 2"):
        restore(backup)


def test_incomplete_backup_is_rejected(backup: Path) -> None:
    (backup / "manifest.json").unlink()
    with pytest.raises(StartError, match="not the folder of a backup"):
        restore(backup)


def test_missing_secrets_are_rejected(backup: Path) -> None:
    secrets_path(backup, encrypted=True).unlink()
    with pytest.raises(StartError, match="SECRETS"):
        restore(backup)


@pytest.mark.soak
def test_failed_restore_leaves_no_data_folder(backup: Path) -> None:
    with pytest.raises(StartError, match="pg_restore failed"):
        restore(backup)
    assert not backup.with_name("data").exists()


def test_backup_of_a_folder_without_a_system_is_rejected(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with pytest.raises(StartError, match="has no system"):
        asyncio.run(create_backup(open_databases(settings), tmp_path, tmp_path / "backup", None))


def test_archive_that_is_written_during_a_backup_fails_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events of the archive may have been deleted before the dump."""
    monkeypatch.setattr(create, "_dump", lambda *_: None)

    @asynccontextmanager
    async def open_while_archiving() -> AsyncIterator[Mapping[str, Client]]:
        (tmp_path / "patient-1.jsonl.gz").touch()
        yield MagicMock()

    with pytest.raises(StartError, match="archived during the backup"):
        asyncio.run(create_backup(open_while_archiving(), tmp_path, tmp_path / "backup", None, archives=tmp_path))
    assert not (tmp_path / "backup").exists()
