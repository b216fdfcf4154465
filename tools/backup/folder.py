"""The folder of a backup: one dump for each database, and a manifest. The secrets are in a file next to the folder."""

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import msgspec

from deploy.errors import StartError
from deploy.topology import ARCHIVE_KEY, CLIENT_SECRETS, TOPOLOGY
from tools.backup.age import AgeError, Encryptor, Identity, Recipient, decrypt

ROOT = Path(__file__).resolve().parents[2]

FORMAT = 1
"""The version of the folder's layout."""

SECRETS = {"admin-password"} | {name for service in TOPOLOGY.values() for name in service.secrets.values()} - {
    CLIENT_SECRETS
}
"""The secrets that the data depends on, or that users know. Those of the databases are created again."""

OPTIONAL_SECRETS = {ARCHIVE_KEY}
"""Secrets that not every system has."""

ARCHIVES = "audit"
"""The folder of the audit log's archives in a local system's data folder."""

_MANIFEST = "manifest.json"
_BLOCK = 1024 * 1024


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


class Writer(Protocol):
    """Accepts the content of a file."""

    def write(self, data: bytes) -> object:
        """Writes data."""


def read_version() -> str:
    """Returns the version of PulseTrack."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


@contextmanager
def create_file(path: Path, recipient: Recipient | None) -> Iterator[Writer]:
    """Creates a file that only this user can read, encrypted if there is a recipient."""
    path.touch(mode=0o600, exist_ok=False)
    with path.open("wb") as file:
        encryptor = Encryptor(file, recipient) if recipient else None
        yield encryptor or file
        if encryptor:
            encryptor.close()


def read_file(path: Path, identity: Identity | None) -> Iterator[bytes]:
    """Yields the content of a file, decrypted if there is a key. Raises StartError."""
    try:
        with path.open("rb") as file:
            yield from decrypt(file, identity) if identity else iter(lambda: file.read(_BLOCK), b"")
    except AgeError as error:
        raise StartError(f"{path} cannot be decrypted: {error}.") from None
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}.") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest."""
    (folder / _MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")


class Backup(NamedTuple):
    """A backup that was verified, and the key that decrypts it."""

    folder: Path
    identity: Identity | None
    manifest: Manifest

    def read(self, stored: StoredFile) -> Iterator[bytes]:
        """Yields the content of a file. Raises StartError."""
        return read_file(self.folder / Path(stored.file).name, self.identity)


def open_backup(folder: Path, identity: Identity | None) -> Backup:
    """Reads the manifest, and verifies that the backup is complete and can be restored. Raises StartError."""
    try:
        manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=Manifest)
    except OSError:
        raise StartError(f"{folder} is not the folder of a backup.") from None
    except msgspec.MsgspecError as error:
        raise StartError(f"{folder / _MANIFEST} is damaged: {error}.") from None
    if manifest.format != FORMAT:
        raise StartError(f"The backup has format {manifest.format}. This version of PulseTrack reads format {FORMAT}.")
    if {dump.service for dump in manifest.databases} != set(TOPOLOGY):
        raise StartError(f"The backup does not have the databases of {', '.join(TOPOLOGY)}.")
    _check_key(manifest, identity)
    for dump in manifest.databases:
        _check_schema(dump, manifest.version)
    for stored in (*manifest.databases, *manifest.archives):
        _check_file(folder / Path(stored.file).name, stored)
    return Backup(folder, identity, manifest)


def _check_key(manifest: Manifest, identity: Identity | None) -> None:
    if manifest.recipient and identity is None:
        raise StartError(
            f"The backup is encrypted. Name the file with the private key of {manifest.recipient}: KEY=..."
        )
    if identity and str(identity.recipient) != manifest.recipient:
        owner = manifest.recipient or "no key: it is not encrypted"
        raise StartError(f"The key is that of {identity.recipient}, but the backup is encrypted to {owner}.")


def _check_schema(dump: Dump, version: str) -> None:
    migrations = ROOT / "services" / dump.service / "migrations"
    if not list(migrations.glob(f"{dump.schema}_*.py")):
        raise StartError(
            f"The tables of {dump.service} have version {dump.schema}, which this version of PulseTrack does not know. "
            f"Restore the backup with version {version} or later."
        )


def _check_file(path: Path, stored: StoredFile) -> None:
    try:
        is_intact = StoredFile.describe(path).sha256 == stored.sha256
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}.") from None
    if not is_intact:
        raise StartError(f"{path} is damaged: its SHA-256 is not that in the manifest.")


def write_secrets(path: Path, secrets: Mapping[str, str], recipient: Recipient | None) -> None:
    """Writes secrets to a new file."""
    with create_file(path, recipient) as file:
        file.write(msgspec.json.encode(secrets))


def read_secrets(path: Path, identity: Identity | None) -> Mapping[str, str]:
    """Reads secrets. Raises StartError."""
    try:
        secrets = msgspec.json.decode(b"".join(read_file(path, identity)), type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise StartError(f"{path} is not a file of secrets: {error}.") from None
    if missing := SECRETS - secrets.keys():
        raise StartError(f"{path} does not have the secret {min(missing)}.")
    return secrets


def secrets_path(folder: Path, *, encrypted: bool) -> Path:
    """Returns the path of the secrets' file, next to the folder of the dumps."""
    return folder.with_name(f"{folder.name}-secrets.json{'.age' if encrypted else ''}")
