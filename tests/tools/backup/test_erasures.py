"""The list of erasures that a restore uses: that of a file, or the newest one next to the backup."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from pyrage.x25519 import Identity

from deploy.errors import StartError
from services.patient.erasure_list import ErasureList
from tools.backup.create import ORDER
from tools.backup.erasures import find_erasures
from tools.backup.folder import (
    Dump,
    Manifest,
    StoredErasures,
    open_backup,
    write_file,
    write_manifest,
)

NOW = datetime(2026, 11, 27, tzinfo=UTC)
KEY, OTHER_KEY = Identity.generate(), Identity.generate()

Create = Callable[..., Path]


@pytest.fixture
def create(tmp_path: Path) -> Create:
    """Returns a function that creates the folder of a backup with empty dumps."""

    def create(
        name: str, *, hours: int = 0, key: Identity | None = None, origin: str = "1.5", listed: bool = True
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        time, recipient = NOW + timedelta(hours=hours), key.to_public() if key else None
        suffix = ".age" if key else ""
        dumps = []
        for service in ORDER:
            path = folder / f"{service}.dump{suffix}"
            write_file(path, io.BytesIO(), recipient)
            dumps.append(Dump.describe(path, service=service, time=time, postgres="18.0", schema="0001", rows={}))
        if listed:
            path = folder / f"erasures.json{suffix}"
            write_file(path, io.BytesIO(a_list(time, origin)), recipient)
            dumps[ORDER.index("patient")].erasures = StoredErasures.describe(path, origin=origin)
        owner = str(recipient or "")
        manifest = Manifest(version="0", begin_time=time, end_time=time, recipient=owner, databases=dumps)
        write_manifest(folder, manifest)
        return folder

    return create


def a_list(time: datetime, origin: str = "1.5") -> bytes:
    """Returns a list without erasures."""
    return msgspec.json.encode(ErasureList(origin=origin, time=time, erasures=[]))


def find_time(folder: Path, *, key: Identity | None = None, file: Path | None = None) -> datetime | None:
    """Returns the time of the list that a restore of a backup uses."""
    found = find_erasures(open_backup(folder, key), file)
    return found.time if found else None


def test_newest_list_is_used(create: Create) -> None:
    folder = create("b")
    create("a", hours=-1)
    create("c", hours=2)
    create("d", hours=1)
    assert find_time(folder) == NOW + timedelta(hours=2)


def test_newest_backup_has_no_newer_list(create: Create) -> None:
    create("a", hours=-1)
    assert find_time(create("b")) is None


def test_folder_can_be_relative(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create("b")
    create("c", hours=1)
    monkeypatch.chdir(folder)
    assert find_time(Path()) == NOW + timedelta(hours=1)


def test_list_of_another_system_is_ignored(create: Create) -> None:
    folder = create("b")
    create("c", hours=1, origin="2.5")
    assert find_time(folder) is None


def test_backup_without_a_list_uses_that_of_a_newer_version(create: Create) -> None:
    folder = create("b", listed=False)
    create("c", hours=1)
    create("d", hours=2, listed=False)
    assert find_time(folder) == NOW + timedelta(hours=1)


@pytest.mark.parametrize("content", [b'{"name": "a web application"}', b'{"version": "\xff"}'])
def test_folders_that_are_not_backups_are_ignored(create: Create, content: bytes) -> None:
    folder = create("b")
    other = folder.with_name("site")
    other.mkdir()
    (other / "manifest.json").write_bytes(content)
    assert find_time(folder) is None


def test_encrypted_list_is_decrypted(create: Create) -> None:
    folder = create("b", key=KEY)
    newest = create("c", hours=1, key=KEY)
    assert b"erasures" not in (newest / "erasures.json.age").read_bytes()
    assert find_time(folder, key=KEY) == NOW + timedelta(hours=1)


def test_list_that_is_encrypted_to_another_key_is_rejected(create: Create) -> None:
    folder = create("b", key=KEY)
    create("c", hours=1, key=OTHER_KEY)
    with pytest.raises(StartError, match="Decrypt it, and name the decrypted file: ERASURES"):
        find_time(folder, key=KEY)


def test_damaged_list_is_rejected(create: Create) -> None:
    folder = create("b")
    path = create("c", hours=1) / "erasures.json"
    path.write_bytes(a_list(NOW))
    with pytest.raises(StartError, match=r"erasures\.json is damaged"):
        find_time(folder)


@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
def test_named_list_replaces_the_newest_one(create: Create, tmp_path: Path, key: Identity | None) -> None:
    folder = create("b", key=KEY)
    create("c", hours=2, key=KEY)
    file = tmp_path / f"list.json{'.age' if key else ''}"
    write_file(file, io.BytesIO(a_list(NOW + timedelta(hours=1))), key.to_public() if key else None)
    assert find_time(folder, key=KEY, file=file) == NOW + timedelta(hours=1)


def test_named_list_that_is_older_than_the_backup_is_rejected(create: Create) -> None:
    folder = create("b")
    with pytest.raises(StartError, match="not newer than the backup"):
        find_time(folder, file=folder / "erasures.json")


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"{", b""), (b"[]", b"{}"), (b"[]", b"[[]]"), (b"[]", b'[{"reason":"\xff"}]'), (b"[]", b"[" * 20_000)],
)
def test_named_file_that_is_not_a_list_is_rejected(create: Create, tmp_path: Path, old: bytes, new: bytes) -> None:
    folder, file = create("b"), tmp_path / "list.json"
    file.write_bytes(a_list(NOW + timedelta(hours=1)).replace(old, new))
    with pytest.raises(StartError, match="is not a list of erasures"):
        find_time(folder, file=file)
