"""Keyset pagination (AIP-158): a page begins after the last row of the previous page."""

from collections.abc import Sequence
from dataclasses import replace
from types import GenericAlias
from typing import Any

from asyncpg import Record
from sqlalchemy import BindParameter, ColumnElement, Integer, Select, and_, bindparam, or_, tuple_

from services.common.errors import PageTokenInvalid, ValueRejected
from services.common.postgres import cursor
from services.common.postgres.database import Database, Transaction
from services.common.postgres.statement import Statement
from services.common.protobuf import codec

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

LIMIT = bindparam("limit", type_=Integer)
"""The parameter of a statement that limits the number of its rows."""


def effective_page_size(requested: int) -> int:
    """Returns the page size for the one in a request, where 0 stands for the default (AIP-158)."""
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


class Keyset:
    """The sort columns of a listing, which together identify a row, and their directions."""

    def __init__(
        self, columns: Sequence[ColumnElement[Any]], descending: Sequence[bool], *, prefix: str = "after"
    ) -> None:
        """Takes the columns, their directions, and the prefix of the names of the parameters."""
        self.columns = columns
        self.names = tuple(str(column.key) for column in columns)
        self.parameters = tuple(f"{prefix}_{name}" for name in self.names)
        self.types = GenericAlias(tuple, tuple(column.type.python_type for column in columns))
        self.descending = descending

    def sort(self, rows: Select[Any]) -> Select[Any]:
        """Returns the select in this order."""
        directed = zip(self.columns, self.descending, strict=True)
        return rows.order_by(*(column.desc() if down else column.asc() for column, down in directed))

    def skip(self, rows: Select[Any]) -> Select[Any]:
        """Returns the select of the rows after the row whose values are the parameters."""
        return rows.where(_is_after(self.columns, self._values(), self.descending))

    def stop(self, rows: Select[Any]) -> Select[Any]:
        """Returns the select of the rows up to the row whose values are the parameters."""
        reverse = [not down for down in self.descending]
        return rows.where(_is_after(self.columns, self._values(), reverse, inclusive=True))

    def _values(self) -> list[BindParameter[Any]]:
        return [bindparam(name, type_=column.type) for name, column in zip(self.parameters, self.columns, strict=True)]


class Listing:
    """A select that is read page by page, sorted by columns that together identify a row."""

    def __init__(
        self, rows: Select[Any], *columns: ColumnElement[Any], descending: Sequence[bool] | None = None
    ) -> None:
        """Takes a select, its sort columns, which it must select and which must not be null, and their directions.

        By default, all are descending.
        """
        self._keyset = Keyset(columns, descending or [True] * len(columns))
        ordered = self._keyset.sort(rows).limit(LIMIT)
        self._first = Statement(ordered)
        self._following = Statement(self._keyset.skip(ordered))

    async def read_page(self, db: Database | Transaction, request: Any, **values: Any) -> tuple[Sequence[Record], str]:
        """Returns the rows of the requested page, and the token of the next page, which is empty on the last page.

        A page token is valid only for the query that it came from. It grants no access that the query does not.
        Raises PageTokenInvalid.
        """
        query, size = encode_query(request), effective_page_size(request.page_size)
        after = self._decode(request.page_token, query) if request.page_token else None
        try:
            rows = await self.read_rows(db, after, limit=size + 1, **values)
        except ValueRejected:
            if after:  # a forged token can contain any value
                raise PageTokenInvalid from None
            raise
        if len(rows) <= size:
            return rows, ""
        last = rows[size - 1]
        return rows[:size], cursor.encode(tuple(last[name] for name in self._keyset.names), query)

    async def read_rows(
        self, db: Database | Transaction, after: Sequence[Any] | None, **values: Any
    ) -> Sequence[Record]:
        """Returns rows up to a limit: the first ones, or those after the row whose sort columns have the values."""
        if after is None:
            return await db.rows(self._first, **values)
        return await db.rows(self._following, **values, **dict(zip(self._keyset.parameters, after, strict=True)))

    def _decode(self, token: str, query: bytes) -> tuple[Any, ...]:
        """Returns the values of the sort columns in the last row of the previous page."""
        try:
            values: tuple[Any, ...] = cursor.decode(token, query, self._keyset.types)
        except cursor.InvalidCursorError:
            raise PageTokenInvalid from None
        return values


def _is_after(
    columns: Sequence[ColumnElement[Any]],
    values: Sequence[BindParameter[Any]],
    descending: Sequence[bool],
    *,
    inclusive: bool = False,
) -> ColumnElement[bool]:
    """Returns the condition of the rows after the row with these values, or of that row too."""
    if len(set(descending)) == 1:
        row, last_row = tuple_(*columns), tuple_(*values)
        if inclusive:
            return row <= last_row if descending[0] else row >= last_row
        return row < last_row if descending[0] else row > last_row
    column, value = columns[0], values[0]
    not_before, beyond = (column <= value, column < value) if descending[0] else (column >= value, column > value)
    rest = _is_after(columns[1:], values[1:], descending[1:], inclusive=inclusive)
    # The first condition is implied by the second, and lets Postgres use an index of the column.
    return and_(not_before, or_(beyond, rest))


def encode_query(request: Any) -> bytes:
    """Returns the part of a request that is the same for all pages of a list."""
    kind = type(request)
    return codec.full_name(kind).encode() + codec.codec_of(kind).dumps(replace(request, page_size=0, page_token=""))
