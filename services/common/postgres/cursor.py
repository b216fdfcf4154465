"""Opaque cursors: values that a client stores and sends back unread, such as page tokens and resume tokens.

A cursor contains a digest of its value and its scope, so a client cannot change one or use it elsewhere by mistake.
The digest does not stop an attacker, unless the scope contains a secret: a cursor must not grant access.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import msgspec

_DIGEST_BYTES = 8


class InvalidCursorError(ValueError):
    """Raised when a cursor was changed, or belongs to another scope."""


def encode(value: Any, scope: bytes) -> str:
    """Returns the cursor of a value. The scope identifies what the cursor belongs to, such as a query."""
    payload = msgspec.msgpack.encode(value)
    return urlsafe_b64encode(_compute_digest(payload, scope) + payload).rstrip(b"=").decode()


def decode(cursor: str, scope: bytes, kind: Any) -> Any:
    """Returns the value of a cursor, converted to a type. Raises InvalidCursorError."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        digest, payload = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        is_canonical = urlsafe_b64encode(raw).rstrip(b"=").decode() == cursor
        if is_canonical and hmac.compare_digest(digest, _compute_digest(payload, scope)):
            return msgspec.msgpack.decode(payload, type=kind)
    except ValueError:
        raise InvalidCursorError from None
    raise InvalidCursorError


def _compute_digest(payload: bytes, scope: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES, key=hashlib.blake2b(scope).digest()).digest()
