"""Pages of a list (AIP-158): keyset paging, newest first, by (create_time, id)."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from asyncpg import Record

from services.common import wire
from services.common.errors import PageTokenInvalid

DEFAULT_PAGE_SIZE = 50
_BEGINNING = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page begins and how long it is."""

    time: datetime
    """The page's rows come before this time, or at it and before the id."""
    id: UUID
    size: int
    _query: bytes

    @property
    def limit(self) -> int:
        """How many rows to read: one more than the page has, to know whether another page follows."""
        return self.size + 1

    def cut(self, rows: Sequence[Record], time: str = "create_time", key: str = "id") -> tuple[Sequence[Record], str]:
        """Returns the rows of the page and the token of the next, empty if there is none."""
        if len(rows) <= self.size:
            return rows, ""
        last = rows[self.size - 1]
        return rows[: self.size], _token((last[time], last[key]), self._query)


def page_of(request: Any) -> Page:
    """Returns the page that a request asks for. Raises PageTokenInvalid.

    A token carries a digest of the query that it came from, so that neither can be changed without the other. The
    digest guards against mistakes, not attackers: a token grants nothing that the query does not.
    """
    kind = type(request)
    query = wire.full_name(kind).encode() + wire.codec_of(kind).dumps(replace(request, page_size=0, page_token=""))
    time, key = _position(request.page_token, query) if request.page_token else _BEGINNING
    return Page(time, key, request.page_size or DEFAULT_PAGE_SIZE, query)


def _token(position: tuple[datetime, UUID], query: bytes) -> str:
    payload = msgspec.msgpack.encode(position)
    return urlsafe_b64encode(_digest(payload, query) + payload).rstrip(b"=").decode()


def _position(token: str, query: bytes) -> tuple[datetime, UUID]:
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        digest, payload = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if urlsafe_b64encode(raw).rstrip(b"=").decode() == token and hmac.compare_digest(
            digest, _digest(payload, query)
        ):
            return msgspec.msgpack.decode(payload, type=tuple[datetime, UUID])
    except (ValueError, msgspec.MsgspecError):
        raise PageTokenInvalid from None
    raise PageTokenInvalid


def _digest(payload: bytes, query: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES, key=hashlib.blake2b(query).digest()).digest()
