"""Keyset pagination (AIP-158): a page begins after the last row of the previous page."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import GenericAlias
from typing import Any, NamedTuple, Protocol

from asyncpg import Record
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
    tuple_,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from services.common.errors import PageTokenInvalid, ValueRejected
from services.common.postgres import cursor
from services.common.postgres.statement import Statement
from services.common.protobuf import codec

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

Row = ReadOnlyColumnCollection[str, Any]
"""The columns of a table or a subquery."""

LIMIT = bindparam("limit", type_=Integer)
"""The parameter of a statement that limits the number of its rows."""


def effective_page_size(requested: int) -> int:
    """Returns the page size for the one in a request, where 0 stands for the default (AIP-158)."""
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


class Rows(Protocol):
    """A database or a transaction, or the part of the rows that the caller may see."""

    async def rows(self, statement: Statement, /, **values: Any) -> Sequence[Record]:
        """Runs a statement and returns its rows."""


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


class Filter(NamedTuple):
    """A condition of a listing that no index answers. A page examines a limited number of rows."""

    select: Callable[[Row], Select[Any]]
    """Selects the rows that meet the condition, from the columns of all rows."""
    examined: int


class Listing:
    """A select that is read page by page, sorted by columns that together identify a row."""

    def __init__(
        self,
        rows: Select[Any],
        *columns: ColumnElement[Any],
        descending: Sequence[bool] | None = None,
        filtered: Filter | None = None,
        begin: Sequence[Any] | None = None,
    ) -> None:
        """Takes a select, its sort columns, which it must select and which must not be null, and their directions.

        By default, all are descending. `begin` are the values of the sort columns before the first row, if the select
        needs them.
        """
        self._keyset = Keyset(columns, descending or [True] * len(columns))
        self._begin = begin
        ordered = self._keyset.sort(rows)
        selects = (ordered, self._keyset.skip(ordered))
        self._pages = [Statement(_select_page(each, filtered)) for each in selects]
        self._ends = [Statement(_select_end(each, columns, filtered.examined)) for each in selects] if filtered else []

    async def read_page(self, db: Rows, request: Any, **values: Any) -> tuple[Sequence[Record], str]:
        """Returns the rows of the requested page, and the token of the next page, which is empty on the last page.

        If the listing has a filter, a page that is not the last can have fewer rows than requested, or none. A page
        token is valid only for the query that it came from. It grants no access that the query does not.
        Raises PageTokenInvalid.
        """
        query, size = encode_query(request), effective_page_size(request.page_size)
        after = self._decode(request.page_token, query) if request.page_token else self._begin
        try:
            rows = await self._read(db, self._pages, after, limit=size + 1, **values)
            last = rows[size - 1] if len(rows) > size else await self._find_end(db, rows, after, **values)
        except ValueRejected:
            if request.page_token:  # a forged token can contain any value
                raise PageTokenInvalid from None
            raise
        token = cursor.encode(tuple(last[name] for name in self._keyset.names), query) if last else ""
        return rows[:size], token

    async def _find_end(
        self, db: Rows, rows: Sequence[Record], after: Sequence[Any] | None, **values: Any
    ) -> Record | None:
        """Returns the last row that was returned or examined, if a filter may have more rows."""
        end = await self._read(db, self._ends, after, **values) if self._ends else ()
        return next(iter((*rows[-1:], *end)), None) if end else None

    async def _read(
        self, db: Rows, statements: Sequence[Statement], after: Sequence[Any] | None, **values: Any
    ) -> Sequence[Record]:
        """Runs the first statement, or the second one for the rows after the row whose sort columns have the values."""
        first, following = statements
        if after is None:
            return await db.rows(first, **values)
        return await db.rows(following, **values, **dict(zip(self._keyset.parameters, after, strict=True)))

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


def constant(value: int) -> ColumnElement[int]:
    """Returns a number that is part of the statement, so the plan depends on it."""
    return literal_column(str(value), Integer)


def _select_page(rows: Select[Any], filtered: Filter | None) -> Select[Any]:
    if filtered:
        # A subquery keeps its order. With another ORDER BY, Postgres would expect to read it to its end.
        rows = filtered.select(rows.limit(constant(filtered.examined)).subquery("examined").c)
        # Postgres does not know the result of a subquery. If it knew the limit, it would plan the statement again for
        # each call.
        return rows.limit(select(LIMIT).scalar_subquery())
    return rows.limit(LIMIT)


def _select_end(rows: Select[Any], columns: Sequence[ColumnElement[Any]], examined: int) -> Select[Any]:
    return rows.with_only_columns(*columns).limit(constant(1)).offset(constant(examined - 1))


def encode_query(request: Any) -> bytes:
    """Returns the part of a request that is the same for all pages of a list."""
    kind = type(request)
    return codec.full_name(kind).encode() + codec.codec_of(kind).dumps(replace(request, page_size=0, page_token=""))
