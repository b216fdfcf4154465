"""Keyset pagination (AIP-158): a page begins after the last row of the previous page."""

from collections.abc import Sequence
from dataclasses import replace
from types import GenericAlias
from typing import Any

from asyncpg import Record
from sqlalchemy import BindParameter, Column, ColumnElement, Integer, Select, and_, bindparam, or_, tuple_

from services.common.errors import PageTokenInvalid, ValueRejected
from services.common.postgres import cursor
from services.common.postgres.database import Database, Transaction
from services.common.postgres.statement import Statement
from services.common.protobuf import codec

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


def effective_page_size(requested: int) -> int:
    """Returns the page size for the one in a request, where 0 stands for the default (AIP-158)."""
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


class Listing:
    """A select that is read page by page, sorted by columns that together identify a row."""

    def __init__(self, rows: Select[Any], *columns: Column[Any], descending: Sequence[bool] | None = None) -> None:
        """Takes a select, its sort columns, which it must select and which must not be null, and their directions.

        By default, all are descending.
        """
        descending = descending or [True] * len(columns)
        self._names = tuple(column.name for column in columns)
        self._parameters = tuple(f"after_{name}" for name in self._names)
        self._types = GenericAlias(tuple, tuple(column.type.python_type for column in columns))
        last_values = [bindparam(name, type_=c.type) for name, c in zip(self._parameters, columns, strict=True)]
        directed = (column.desc() if down else column.asc() for column, down in zip(columns, descending, strict=True))
        ordered = rows.order_by(*directed).limit(bindparam("limit", type_=Integer))
        self._first = Statement(ordered)
        self._following = Statement(ordered.where(_is_after(columns, last_values, descending)))

    async def read_page(self, db: Database | Transaction, request: Any, **values: Any) -> tuple[Sequence[Record], str]:
        """Returns the rows of the requested page, and the token of the next page, which is empty on the last page.

        A page token is valid only for the query that it came from. It grants no access that the query does not.
        Raises PageTokenInvalid.
        """
        query, size = _encode_query(request), effective_page_size(request.page_size)
        statement = self._first
        if request.page_token:
            statement = self._following
            values |= zip(self._parameters, self._decode(request.page_token, query), strict=True)
        try:
            rows = await db.rows(statement, limit=size + 1, **values)
        except ValueRejected:
            if request.page_token:  # a forged token can contain any value
                raise PageTokenInvalid from None
            raise
        if len(rows) <= size:
            return rows, ""
        last = rows[size - 1]
        return rows[:size], cursor.encode(tuple(last[name] for name in self._names), query)

    def _decode(self, token: str, query: bytes) -> tuple[Any, ...]:
        """Returns the values of the sort columns in the last row of the previous page."""
        try:
            values: tuple[Any, ...] = cursor.decode(token, query, self._types)
        except cursor.InvalidCursorError:
            raise PageTokenInvalid from None
        return values


def _is_after(
    columns: Sequence[Column[Any]], values: Sequence[BindParameter[Any]], descending: Sequence[bool]
) -> ColumnElement[bool]:
    """Returns the condition of the rows after the row with these values."""
    if len(set(descending)) == 1:
        row, last_row = tuple_(*columns), tuple_(*values)
        return row < last_row if descending[0] else row > last_row
    column, value = columns[0], values[0]
    not_before, beyond = (column <= value, column < value) if descending[0] else (column >= value, column > value)
    # The first condition is implied by the second, and lets Postgres use an index of the column.
    return and_(not_before, or_(beyond, _is_after(columns[1:], values[1:], descending[1:])))


def _encode_query(request: Any) -> bytes:
    kind = type(request)
    return codec.full_name(kind).encode() + codec.codec_of(kind).dumps(replace(request, page_size=0, page_token=""))
