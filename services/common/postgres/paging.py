"""Pages of a list (AIP-158): keyset paging, in which a page begins behind the last row of the one before."""

from collections.abc import Sequence
from dataclasses import replace
from types import GenericAlias
from typing import Any

from asyncpg import Record
from sqlalchemy import Column, Integer, Select, bindparam, tuple_

from services.common.errors import PageTokenInvalid, ValueRejected
from services.common.postgres import cursor
from services.common.postgres.database import Database, Statement, Transaction
from services.common.protobuf import codec

DEFAULT_PAGE_SIZE = 50

Position = tuple[Any, ...]
"""Where a page begins: the values that the last row of the one before has in the columns that the list is sorted by."""


class Listing:
    """A select that is read in pages, sorted by columns that tell any two rows apart, all in the same direction."""

    def __init__(self, rows: Select[Any], *columns: Column[Any], descending: bool = True) -> None:
        """Takes a select, and the columns by which it is sorted: not null, and of those that it selects."""
        self._names = tuple(column.name for column in columns)
        self._parameters = tuple(f"after_{name}" for name in self._names)
        self._types = GenericAlias(tuple, tuple(column.type.python_type for column in columns))
        position = (bindparam(name, type_=c.type) for name, c in zip(self._parameters, columns, strict=True))
        row, last = tuple_(*columns), tuple_(*position)
        directed = (column.desc() if descending else column.asc() for column in columns)
        ordered = rows.order_by(*directed).limit(bindparam("limit", type_=Integer))
        self._first = Statement(ordered)
        self._following = Statement(ordered.where(row < last if descending else row > last))

    async def read_page(self, db: Database | Transaction, request: Any, **values: Any) -> tuple[Sequence[Record], str]:
        """Returns the rows of the page that a request asks for, and the token of the next, empty if there is none.

        A token carries a digest of the query that it came from, so that neither can be changed without the other. The
        digest guards against mistakes, not attackers: a token grants nothing that the query does not. Raises
        PageTokenInvalid.
        """
        query, size = _query(request), request.page_size or DEFAULT_PAGE_SIZE
        statement = self._first
        if request.page_token:
            statement = self._following
            values |= zip(self._parameters, self._position(request.page_token, query), strict=True)
        try:
            rows = await db.rows(statement, limit=size + 1, **values)
        except ValueRejected:
            if request.page_token:  # whose digest guards against mistakes only
                raise PageTokenInvalid from None
            raise
        if len(rows) <= size:
            return rows, ""
        last = rows[size - 1]
        return rows[:size], cursor.encode(tuple(last[name] for name in self._names), query)

    def _position(self, token: str, query: bytes) -> Position:
        try:
            position: Position = cursor.decode(token, query, self._types)
        except cursor.InvalidCursorError:
            raise PageTokenInvalid from None
        return position


def _query(request: Any) -> bytes:
    kind = type(request)
    return codec.full_name(kind).encode() + codec.codec_of(kind).dumps(replace(request, page_size=0, page_token=""))
