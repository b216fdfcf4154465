"""Encryption of secrets that auth has to read again."""

import secrets
from functools import cached_property
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

_SALT = b"pulsetrack second factors"
"""A constant: the passphrase belongs to one system, and separates the key from other uses of the passphrase."""
_NONCE_BYTES = 12


class SecretCipher:
    """Encrypts secrets of users with AES-256-GCM. The user id is authenticated, so a secret fits no other user."""

    def __init__(self, passphrase: str) -> None:
        self._passphrase = passphrase

    def encrypt(self, secret: bytes, user_id: UUID) -> bytes:
        """Returns the encrypted secret of a user, including its nonce."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, secret, user_id.bytes)

    def decrypt(self, encrypted: bytes, user_id: UUID) -> bytes:
        """Returns the secret of a user. Raises InvalidTag if the passphrase or the user differs."""
        return self._aead.decrypt(encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], user_id.bytes)

    @cached_property
    def _aead(self) -> AESGCM:
        """Derived on first use, because that takes 50 ms and 16 MiB: an operator may have chosen the passphrase."""
        return AESGCM(Scrypt(salt=_SALT, length=32, n=2**14, r=8, p=1).derive(self._passphrase.encode()))
