"""Encryption to a public key, in the format of age (https://c2sp.org/age), version 1, to X25519 keys.

The programs `age` and `rage` can create the keys and decrypt the files. The primitives are those of `cryptography`.
"""

import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tools.backup import bech32

_VERSION = b"age-encryption.org/v1"
_STANZA = b"-> X25519 "
_CHUNK = 64 * 1024
_TAG = 16
_BODY_COLUMNS = 64
_MAX_LINE = 1000
_MAX_STANZAS = 100


class AgeError(Exception):
    """Raised when a key or an encrypted file is invalid, or when the key does not belong to the file."""


class Recipient:
    """A public key, `age1...`."""

    def __init__(self, key: X25519PublicKey) -> None:
        self._key = key

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a public key. Raises AgeError."""
        return cls(X25519PublicKey.from_public_bytes(_decode_key("age", text.strip())))

    def __str__(self) -> str:
        return bech32.encode("age", self._key.public_bytes_raw())

    def wrap(self, file_key: bytes) -> bytes:
        """Returns the stanza that only the holder of the private key can open."""
        ephemeral = X25519PrivateKey.generate()
        share = ephemeral.public_key().public_bytes_raw()
        key = _derive_wrapping_key(ephemeral.exchange(self._key), share, self._key)
        return _STANZA + _b64(share) + b"\n" + _b64(ChaCha20Poly1305(key).encrypt(bytes(12), file_key, None)) + b"\n"


class Identity:
    """A private key, `AGE-SECRET-KEY-1...`."""

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Self:
        """Generates a private key."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses the first line of a key file that is not a comment. Raises AgeError."""
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        return cls(X25519PrivateKey.from_private_bytes(_decode_key("age-secret-key-", lines[0] if lines else "")))

    def __str__(self) -> str:
        return bech32.encode("age-secret-key-", self._key.private_bytes_raw()).upper()

    @property
    def recipient(self) -> Recipient:
        """The public key."""
        return Recipient(self._key.public_key())

    def unwrap(self, stanza: bytes, body: bytes) -> bytes:
        """Returns the file key in a stanza. Raises AgeError if the stanza is for another key."""
        share = _unb64(stanza.removeprefix(_STANZA))
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(share))
            key = _derive_wrapping_key(shared, share, self._key.public_key())
            return ChaCha20Poly1305(key).decrypt(bytes(12), _unb64(body), None)
        except (ValueError, InvalidTag):
            raise AgeError("the stanza is for another key") from None


class Encryptor:
    """Writes to a file what only the holder of a private key can read. Complete only after `close`."""

    def __init__(self, file: IO[bytes], recipient: Recipient) -> None:
        file_key, nonce = os.urandom(16), os.urandom(16)
        header = _VERSION + b"\n" + recipient.wrap(file_key) + b"---"
        file.write(header + b" " + _b64(_compute_mac(file_key, header)) + b"\n" + nonce)
        self._file = file
        self._chunks = _Chunks(file_key, nonce)
        self._pending = bytearray()

    def write(self, data: bytes) -> None:
        """Encrypts data and writes all complete chunks but the last."""
        self._pending += data
        while len(self._pending) > _CHUNK:
            self._file.write(self._chunks.encrypt(bytes(self._pending[:_CHUNK]), last=False))
            del self._pending[:_CHUNK]

    def close(self) -> None:
        """Writes the last chunk."""
        self._file.write(self._chunks.encrypt(bytes(self._pending), last=True))


def decrypt(file: IO[bytes], identity: Identity) -> Iterator[bytes]:
    """Yields the content of an encrypted file. Each part is authentic, but the content is complete only at the end.

    Raises AgeError.
    """
    stanzas, header, mac = _read_header(file)
    file_key = _find_file_key(stanzas, identity)
    if not hmac.compare_digest(_compute_mac(file_key, header), mac):
        raise AgeError("the header of the file was changed")
    chunks = _Chunks(file_key, file.read(16))
    chunk = file.read(_CHUNK + _TAG)
    while following := file.read(_CHUNK + _TAG):
        yield chunks.decrypt(chunk, last=False)
        chunk = following
    yield chunks.decrypt(chunk, last=True)


def _read_header(file: IO[bytes]) -> tuple[Sequence[tuple[bytes, bytes]], bytes, bytes]:
    """Returns the stanzas, the bytes that the MAC covers, and the MAC. Raises AgeError."""
    stanzas: list[tuple[bytes, bytes]] = []
    header = file.readline(_MAX_LINE)
    if header != _VERSION + b"\n":
        raise AgeError("the file is not encrypted in the format of age")
    while (line := file.readline(_MAX_LINE)).startswith(b"-> ") and len(stanzas) < _MAX_STANZAS:
        header, body = header + line, b""
        while len(part := file.readline(_MAX_LINE)) > _BODY_COLUMNS:
            header, body = header + part, body + part[:-1]
        header, body = header + part, body + part[:-1]
        stanzas.append((line[:-1], body))
    if not line.startswith(b"--- "):
        raise AgeError("the header of the file is invalid")
    return stanzas, header + b"---", _unb64(line[4:-1])


def _find_file_key(stanzas: Sequence[tuple[bytes, bytes]], identity: Identity) -> bytes:
    """Returns the file key in the stanza of a private key. Raises AgeError if there is none."""
    for stanza, body in stanzas:
        if stanza.startswith(_STANZA):
            with suppress(AgeError):
                return identity.unwrap(stanza, body)
    raise AgeError("the key does not belong to this file")


class _Chunks:
    """The STREAM construction: each chunk is authenticated with its number, and the last with a flag."""

    def __init__(self, file_key: bytes, nonce: bytes) -> None:
        self._cipher = ChaCha20Poly1305(_derive(file_key, nonce, b"payload"))
        self._number = 0

    def encrypt(self, chunk: bytes, *, last: bool) -> bytes:
        return self._cipher.encrypt(self._next_nonce(last), chunk, None)

    def decrypt(self, chunk: bytes, *, last: bool) -> bytes:
        try:
            return self._cipher.decrypt(self._next_nonce(last), chunk, None)
        except (ValueError, InvalidTag):
            raise AgeError("the file was changed or is incomplete") from None

    def _next_nonce(self, last: bool) -> bytes:  # noqa: FBT001 - passed on from keyword arguments
        nonce = self._number.to_bytes(11, "big") + bytes([last])
        self._number += 1
        return nonce


def _derive_wrapping_key(shared: bytes, share: bytes, recipient: X25519PublicKey) -> bytes:
    return _derive(shared, share + recipient.public_bytes_raw(), b"age-encryption.org/v1/X25519")


def _compute_mac(file_key: bytes, header: bytes) -> bytes:
    return hmac.digest(_derive(file_key, b"", b"header"), header, "sha256")


def _derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)


def _decode_key(prefix: str, text: str) -> bytes:
    try:
        key = bech32.decode(prefix, text)
    except ValueError:
        key = b""
    if len(key) != 32:  # noqa: PLR2004 - the size of X25519 keys
        raise AgeError(f"{text[:8]!r}... is not a key that begins with {prefix}1")
    return key


def _b64(data: bytes) -> bytes:
    return b64encode(data).rstrip(b"=")


def _unb64(text: bytes) -> bytes:
    """Decodes base64 without padding. Raises AgeError."""
    try:
        data = b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError:
        data = b""
    if not data or _b64(data) != text:
        raise AgeError("the header of the file is invalid")
    return data
