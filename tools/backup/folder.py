"""The folder of a backup: one dump for each database, and a manifest. The secrets are in a file next to the folder."""

import hashlib
import io
import shutil
import tomllib
from collections.abc import Mapping
from datetime import datetime
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import pyrage
from pyrage.x25519 import Identity, Recipient

from deploy.errors import StartError
from deploy.topology import ARCHIVE_KEY, CLIENT_SECRETS, SMTP_URL, TOPOLOGY

ROOT = Path(__file__).resolve().parents[2]

FORMAT = 1
"""The version of the folder's layout."""

SECRETS = {"admin-password"} | {name for service in TOPOLOGY.values() for name in service.secrets.values()} - {
    CLIENT_SECRETS,
    SMTP_URL,
}
"""The secrets that the data depends on, or that users know. Those of the databases are created again."""

OPTIONAL_SECRETS = {ARCHIVE_KEY, SMTP_URL}
"""Secrets that not every system has."""

ARCHIVES = "audit"
"""The folder of the audit log's archives in a local system's data folder."""

MANIFEST = "manifest.json"


class StoredFile(msgspec.Struct, kw_only=True):
    """A file of a backup, as it is stored."""

    file: str
    size: int
    sha256: str

    @classmethod
    def describe(cls, path: Path, **fields: Any) -> Self:
        """Returns the description of a file, with further fields. Raises OSError."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(file=path.name, size=path.stat().st_size, sha256=digest, **fields)


class StoredErasures(StoredFile, kw_only=True):
    """The list of erasures that belongs to a dump of the patient service's database."""

    origin: str
    """Identifies the system (see ErasureList)."""


class Dump(StoredFile, kw_only=True):
    """The dump of a database, as of one moment."""

    service: str
    time: datetime
    """The moment, which all rows of the dump have in common."""
    postgres: str
    """The version of the server."""
    schema: str
    """The version of the tables: the last migration."""
    rows: dict[str, int]
    """The number of rows, by table."""
    erasures: StoredErasures | None = None


class Manifest(msgspec.Struct, kw_only=True):
    """The description of a complete backup."""

    format: int = FORMAT
    version: str
    """The version of PulseTrack."""
    begin_time: datetime
    """Every change that was acknowledged before is in the backup."""
    end_time: datetime
    recipient: str = ""
    """The public key that the files are encrypted to. Empty if they are not encrypted."""
    databases: list[Dump]
    archives: list[StoredFile] = []
    """The archives of the audit log, whose events may have been deleted from the databases."""


def read_version() -> str:
    """Returns the version of PulseTrack."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def write_file(path: Path, content: BufferedIOBase, recipient: Recipient | None) -> None:
    """Writes a file that only this user can read, encrypted if there is a recipient. Raises OSError."""
    path.touch(mode=0o600, exist_ok=False)
    with path.open("wb") as file:
        if recipient:
            pyrage.encrypt_io(content, file, [recipient])
        else:
            shutil.copyfileobj(content, file)


def read_file(path: Path, target: BufferedIOBase, identity: Identity | None) -> None:
    """Writes the content of a file to a target, decrypted if there is a key.

    Each part is authentic, but the content is complete only at the end. Raises StartError.
    """
    try:
        with path.open("rb") as file:
            if identity:
                pyrage.decrypt_io(file, target, [identity])
            else:
                shutil.copyfileobj(file, target)
    except BrokenPipeError:
        raise
    except pyrage.DecryptError as error:
        raise StartError(f"{path} cannot be decrypted: {error}.") from None
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror or error}.") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest."""
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest. Raises StartError."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError:
        raise StartError(f"{folder} is not the folder of a backup.") from None
    except ValueError as error:
        raise StartError(f"{folder / MANIFEST} is damaged: {error}.") from None


class Backup(NamedTuple):
    """A backup that was verified, and the key that decrypts it."""

    folder: Path
    identity: Identity | None
    manifest: Manifest

    def read(self, stored: StoredFile, target: BufferedIOBase) -> None:
        """Writes the content of a file to a target. Raises StartError, and BrokenPipeError if that is a closed pipe."""
        read_file(self.folder / Path(stored.file).name, target, self.identity)


def open_backup(folder: Path, identity: Identity | None) -> Backup:
    """Reads the manifest, and verifies that the backup is complete and can be restored. Raises StartError."""
    manifest = read_manifest(folder)
    if manifest.format != FORMAT:
        raise StartError(f"The backup has format {manifest.format}. This version of PulseTrack reads format {FORMAT}.")
    if {dump.service for dump in manifest.databases} != set(TOPOLOGY):
        raise StartError(f"The backup does not have the databases of {', '.join(TOPOLOGY)}.")
    _check_key(manifest, identity)
    for dump in manifest.databases:
        _check_schema(dump, manifest.version)
    for stored in (*manifest.databases, *manifest.archives):
        check_file(folder / Path(stored.file).name, stored)
    return Backup(folder, identity, manifest)


def _check_key(manifest: Manifest, identity: Identity | None) -> None:
    if manifest.recipient and identity is None:
        raise StartError(
            f"The backup is encrypted. Name the file with the private key of {manifest.recipient}: KEY=..."
        )
    if identity and (public := str(identity.to_public())) != manifest.recipient:
        owner = manifest.recipient or "no key: it is not encrypted"
        raise StartError(f"The key is that of {public}, but the backup is encrypted to {owner}.")


def _check_schema(dump: Dump, version: str) -> None:
    migrations = ROOT / "services" / dump.service / "migrations"
    if not list(migrations.glob(f"{dump.schema}_*.py")):
        raise StartError(
            f"The tables of {dump.service} have version {dump.schema}, which this version of PulseTrack does not know. "
            f"Restore the backup with version {version} or later."
        )


def check_file(path: Path, stored: StoredFile) -> None:
    """Verifies the SHA-256 of a file. Raises StartError."""
    try:
        is_intact = StoredFile.describe(path).sha256 == stored.sha256
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}.") from None
    if not is_intact:
        raise StartError(f"{path} is damaged: its SHA-256 is not that in the manifest.")


def write_secrets(path: Path, secrets: Mapping[str, str], recipient: Recipient | None) -> None:
    """Writes secrets to a new file."""
    write_file(path, io.BytesIO(msgspec.json.encode(secrets)), recipient)


def read_secrets(path: Path, identity: Identity | None) -> Mapping[str, str]:
    """Reads secrets. Raises StartError."""
    content = io.BytesIO()
    read_file(path, content, identity)
    try:
        secrets = msgspec.json.decode(content.getvalue(), type=dict[str, str])
    except ValueError as error:
        raise StartError(f"{path} is not a file of secrets: {error}.") from None
    if missing := SECRETS - secrets.keys():
        raise StartError(f"{path} does not have the secret {min(missing)}.")
    return secrets


def secrets_path(folder: Path, *, encrypted: bool) -> Path:
    """Returns the path of the secrets' file, next to the folder of the dumps."""
    return folder.with_name(f"{folder.name}-secrets.json{'.age' if encrypted else ''}")
