"""Signatures of archives: a file `NAME.sig` beside each archive, with the Ed25519 signature of its bytes.

OpenSSL verifies one too: `openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in ARCHIVE -sigfile ARCHIVE.sig`.
"""

import argparse
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from services.common.audit.archive import list_archives, sync_folder
from services.common.audit.seals import AuditIntegrityError
from services.common.settings import SettingsError


def generate_private_key() -> str:
    """Returns a new private key in PEM."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def parse_private_key(pem: str) -> Ed25519PrivateKey:
    """Returns the private key of a PEM text. Raises SettingsError."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            "PULSETRACK_ARCHIVE_KEY is not an Ed25519 private key in PEM. Create it: openssl genpkey -algorithm ed25519"
        )
    return key


def parse_public_key(path: str) -> Ed25519PublicKey:
    """Returns the public key in a PEM file. Raises ArgumentTypeError."""
    try:
        key = load_pem_public_key(Path(path).read_bytes())
    except (OSError, ValueError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise argparse.ArgumentTypeError(f"{path!r} is not the file of an Ed25519 public key in PEM")
    return key


def sign_archives(service: str, folder: Path, key: Ed25519PrivateKey) -> None:
    """Signs the archives of a service that have no signature."""
    for archive in list_archives(service, folder):
        path = _signature_of(archive)
        if path.exists():
            continue
        new = path.with_suffix(".new")
        new.touch(mode=0o600)
        with new.open("wb") as file:
            file.write(key.sign(archive.read_bytes()))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync_folder(folder)


def verify_signatures(service: str, folder: Path, key: Ed25519PublicKey) -> None:
    """Verifies the signature of each archive of a service. Raises AuditIntegrityError."""
    for archive in list_archives(service, folder):
        try:
            key.verify(_signature_of(archive).read_bytes(), archive.read_bytes())
        except (OSError, InvalidSignature):
            raise AuditIntegrityError(f"the archive {archive.name} has no valid signature") from None


def _signature_of(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.sig")
