"""Opaque tokens: a value that a client keeps and gives back, without a look into it.

A token carries a digest of its value and of what it belongs to, so that neither can be changed without the other. The
digest guards against mistakes, not attackers: a token must grant nothing.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import msgspec

_DIGEST_BYTES = 8


class InvalidCursorError(ValueError):
    """Occurs when a token was changed, or belongs to something else."""


def encode(value: Any, of: bytes) -> str:
    """Returns the token of a value, which belongs to something that bytes name."""
    payload = msgspec.msgpack.encode(value)
    return urlsafe_b64encode(_digest(payload, of) + payload).rstrip(b"=").decode()


def decode(token: str, of: bytes, kind: Any) -> Any:
    """Returns the value of a token, which is of a type. Raises InvalidCursorError."""
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        digest, payload = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if urlsafe_b64encode(raw).rstrip(b"=").decode() == token and hmac.compare_digest(digest, _digest(payload, of)):
            return msgspec.msgpack.decode(payload, type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise InvalidCursorError from None
    raise InvalidCursorError


def _digest(payload: bytes, of: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES, key=hashlib.blake2b(of).digest()).digest()
