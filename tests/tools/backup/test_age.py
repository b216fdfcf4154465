"""Encryption in the format of age."""

import io
import os
from base64 import b64decode

import pytest

from tools.backup.age import AgeError, Encryptor, Identity, Recipient, decrypt

CHUNK = 64 * 1024

RAGE_KEY = "AGE-SECRET-KEY-1SWSZZTP5Q9Z67AVKRTUZAKK04XL0Q78JDREYZVPXSL0VR0YFNCTS5E4FPF"
RAGE_FILE = (
    "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBPbTdERlpieXVDTmkzdjBTbDRvSjE2S2gwbVQyK2FKN2M2UitXSjRQMDNrCmhwY0hUTWN2"
    "bmhDRitHT1J2eER5WG1jbm5YWVdKN0Q2Ty9DeTREQ3RKNE0KLT4gLS1ncmVhc2UKCi0tLSBOakI4VlVEZVNQb3BudEF1c3ZzcmZWMkduRzc3eCtJ"
    "Zmk2RngyL1J0ZGlvCpM1+2ev7nML9yswPPtHvkLbgRljSndDXpN+atqk25XfYAm9RNw/"
)
"""A file that another implementation, rage, encrypted."""


def encrypt(data: bytes, recipient: Recipient) -> bytes:
    """Encrypts data in two writes."""
    file = io.BytesIO()
    encryptor = Encryptor(file, recipient)
    for part in (data[:10], data[10:]):
        encryptor.write(part)
    encryptor.close()
    return file.getvalue()


def decrypt_all(encrypted: bytes, identity: Identity) -> bytes:
    """Decrypts a complete file."""
    return b"".join(decrypt(io.BytesIO(encrypted), identity))


@pytest.fixture(scope="module")
def identity() -> Identity:
    """A private key."""
    return Identity.generate()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_content_is_decrypted_with_the_private_key(identity: Identity, size: int) -> None:
    data = os.urandom(size)
    encrypted = encrypt(data, identity.recipient)
    assert decrypt_all(encrypted, identity) == data
    assert size < CHUNK or data[:100] not in encrypted


def test_file_of_another_implementation_is_decrypted() -> None:
    assert decrypt_all(b64decode(RAGE_FILE), Identity.parse(RAGE_KEY)) == b"a dump"


def test_another_key_is_rejected(identity: Identity) -> None:
    with pytest.raises(AgeError, match="does not belong"):
        decrypt_all(encrypt(b"a dump", identity.recipient), Identity.generate())


@pytest.mark.parametrize("position", [5, 30, 80, 130, 200, CHUNK, -1])
def test_changed_byte_is_detected(identity: Identity, position: int) -> None:
    encrypted = bytearray(encrypt(os.urandom(2 * CHUNK), identity.recipient))
    encrypted[position] ^= 1
    with pytest.raises(AgeError):
        decrypt_all(bytes(encrypted), identity)


@pytest.mark.parametrize("removed", [1, CHUNK + 16, CHUNK + 17, 2 * (CHUNK + 16)])
def test_truncated_file_is_detected(identity: Identity, removed: int) -> None:
    encrypted = encrypt(os.urandom(2 * CHUNK), identity.recipient)
    with pytest.raises(AgeError):
        decrypt_all(encrypted[:-removed], identity)


def test_keys_are_parsed_as_they_are_written(identity: Identity) -> None:
    assert str(Identity.parse(f"# a comment\n{identity}\n").recipient) == str(identity.recipient)
    assert str(Recipient.parse(str(identity.recipient))) == str(identity.recipient)


@pytest.mark.parametrize("text", ["", "age1", "age1qqqq", "AGE-SECRET-KEY-1QQQQ", "ssh-ed25519 AAAA"])
def test_invalid_keys_are_rejected(text: str) -> None:
    with pytest.raises(AgeError):
        Recipient.parse(text)
    with pytest.raises(AgeError):
        Identity.parse(text)
