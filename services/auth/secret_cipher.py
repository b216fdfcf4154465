"""Encryption of secrets that auth has to read again."""

import secrets
from functools import cached_property
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

_NONCE_BYTES = 12


class SecretCipher:
    """Encrypts secrets with AES-256-GCM. The id of the owner is authenticated, so a secret fits no other owner."""

    def __init__(self, passphrase: str, *, purpose: str) -> None:
        """Takes the passphrase of the system and the kind of the secrets, which together determine the key."""
        self._passphrase = passphrase
        self._salt = f"pulsetrack {purpose}".encode()

    def encrypt(self, secret: bytes, owner_id: UUID) -> bytes:
        """Returns the encrypted secret of an owner, including its nonce."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, secret, owner_id.bytes)

    def decrypt(self, encrypted: bytes, owner_id: UUID) -> bytes:
        """Returns the secret of an owner. Raises InvalidTag if the passphrase or the owner differs."""
        return self._aead.decrypt(encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], owner_id.bytes)

    @cached_property
    def _aead(self) -> AESGCM:
        """Derived on first use, because that takes 50 ms and 16 MiB: an operator may have chosen the passphrase."""
        return AESGCM(Scrypt(salt=self._salt, length=32, n=2**14, r=8, p=1).derive(self._passphrase.encode()))
