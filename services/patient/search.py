"""Lists of patients whose pages cost about the same, whatever the number of patients.

A page is read in one of two ways. A walk reads a window of patients, the next ones in the requested order, and keeps
those that match. If few patients match, an index of a condition finds all that remain, and they are sorted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import GenericAlias
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from asyncpg import Record
from sqlalchemy import ColumnElement, Integer, Select, Text, Uuid, all_, any_, bindparam, case, select
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.errors import PageTokenInvalid, ValueRejected
from services.common.postgres import cursor
from services.common.postgres.database import Database
from services.common.postgres.paging import LIMIT, Keyset, effective_page_size, encode_query
from services.common.postgres.statement import Statement
from services.patient.models import Row, patients, select_message
from services.patient.words import Patterns

WINDOW: Final = 1500
"""The number of patients in a window."""

SCATTERED_WINDOW: Final = 500
"""The same if the patients are far apart in the table, which takes longer to read: in any order but by create time."""

_GROWTH: Final = 4
"""The factor by which the window after one with sparse matches is longer."""

_SPARSE: Final = 10
"""Matches are sparse if fewer patients in a window match."""

EXAMINED: Final = 20
"""The number of windows that are examined before a page is returned empty although more may follow."""

FEW: Final = 300
"""The number of matches that are sorted at once."""

_MOST: Final = 10 * FEW
"""The number of them that may match when a later page is read."""


class Condition(NamedTuple):
    """A condition of a list."""

    column: str
    """The column that it tests. All conditions of a column are answered by its index, if it has one.

    It is empty for a condition that no index should answer.
    """
    test: Callable[[Row], ColumnElement[bool]]


class Position(NamedTuple):
    """The place where a page begins."""

    column: str = ""
    """The column whose index finds the matches, or nothing for a walk."""
    is_long: bool = False
    """Whether the window of a walk is longer than usual."""
    start: Sequence[Any] | None = None
    """The sort columns of the patient before the window."""
    end: Sequence[Any] | None = None
    """The sort columns of the last patient in the window, unless it contains all that are left."""
    last: Sequence[Any] | None = None
    """The rank and the sort columns of the last patient of the previous page, if the window has more ranked matches."""


class BoundedListing:
    """The patients that match all conditions, in the order of the sort columns.

    Ranked matches of a query are sorted by rank first: within a window, or all of them if they are few. The rank is 0
    if all words are equal to words of the patient, 1 if they are beginnings of words, else 2.
    """

    def __init__(
        self, order: Sequence[str], descending: Sequence[bool], conditions: Sequence[Condition], *, ranked: bool = False
    ) -> None:
        """Takes the names of the sort columns, which together identify a patient, and their directions."""
        self._names = order
        self._descending = descending
        self._conditions = conditions
        self._ranked = ranked
        self._indexed = [name for name in _INDEXED if any(each.column == name for each in conditions)]
        self._walked = find_walked_columns(order)
        self._start = self._key(patients.c, prefix="start")
        self._last = self._sort_key(patients.c)
        self._window = WINDOW if order[0] == "create_time" else SCATTERED_WINDOW
        self._end = self._key(patients.c, prefix="end")
        key = self._start.types | None
        keys = (key, key, self._last.types | None if ranked else None)
        self._position = GenericAlias(tuple, (Literal["", *self._indexed], bool, *keys))
        self._walk_statement = cache(self._build_walk)
        self._end_statement = cache(self._build_end)
        self._ids_statement = cache(self._build_ids)
        self._sorted_statement = cache(self._build_sorted)

    async def read_page(self, db: Database, request: Any, **values: Any) -> tuple[Sequence[Record], str]:
        """Returns the rows of the requested page, and the token of the next page, which is empty on the last page.

        A page that is not the last can have fewer rows than requested, or none. Raises PageTokenInvalid.
        """
        query, size = encode_query(request), effective_page_size(request.page_size)
        position = self._decode(request.page_token, query) if request.page_token else Position()
        try:
            rows, following = await self._read(db, position, size, values)
        except ValueRejected:
            if request.page_token:  # a forged token can contain any value
                raise PageTokenInvalid from None
            raise
        return rows, cursor.encode(following, query) if following else ""

    async def _read(
        self, db: Database, position: Position, size: int, values: Mapping[str, Any]
    ) -> tuple[Sequence[Record], Position | None]:
        """Returns the rows of a page, and the position of the next page."""
        page: list[Record] = []
        ids = await self._find_ids(db, position.column, values, limit=_MOST) if position.column else []
        examined, is_first = 0, position.last is None
        while True:
            if not position.column and position.last is None:
                position = position._replace(end=await self._find_end(db, position, values))
            page += await self._read_rows(db, position, limit=size + 1 - len(page), ids=ids, **values)
            if len(page) > size:
                return page[:size], self._follow(position, page[size - 1])
            if position.column or position.end is None:
                return page, None
            if is_first and len(page) < _SPARSE:
                column, ids = await self._find_few(db, values)
                if column and not ids:
                    return page, None
                if column:
                    position = Position(column=column, start=position.start)
                    page.clear()
                    continue
            examined += self._measure_window(position)
            if len(page) >= min(_SPARSE, size) or (position.is_long and (page or examined >= EXAMINED * self._window)):
                return page, Position(start=position.end)
            position, is_first = Position(is_long=True, start=position.end), False

    def _follow(self, position: Position, row: Record) -> Position:
        """Returns the position after a row of a page."""
        last = [row[name] for name in self._last.names]
        return position._replace(last=last) if self._ranked else Position(column=position.column, start=last)

    async def _read_rows(self, db: Database, position: Position, **values: Any) -> Sequence[Record]:
        has = {name: getattr(position, name) is not None for name in ("start", "end", "last")}
        build = self._sorted_statement if position.column else self._walk_statement
        return await db.rows(build(**has), **values, **self._name_values(position))

    async def _find_end(self, db: Database, position: Position, values: Mapping[str, Any]) -> Sequence[Any] | None:
        """Returns the sort columns of the last patient in a window, or None if fewer patients are left."""
        statement = self._end_statement(start=position.start is not None)
        skipped = self._measure_window(position) - 1
        row = await db.row(statement, skipped=skipped, **values, **self._name_values(position))
        return row and tuple(row)

    async def _find_few(self, db: Database, values: Mapping[str, Any]) -> tuple[str, Sequence[UUID]]:
        """Returns the first column whose index finds few patients, and their ids, or nothing."""
        for column in self._indexed:
            if len(ids := await self._find_ids(db, column, values, limit=FEW + 1)) <= FEW:
                return column, ids
        return "", []

    async def _find_ids(self, db: Database, column: str, values: Mapping[str, Any], *, limit: int) -> Sequence[UUID]:
        """Returns the ids of patients that an index finds."""
        return [row["id"] for row in await db.rows(self._ids_statement(column), **values, limit=limit)]

    def _name_values(self, position: Position) -> dict[str, Any]:
        keys = ((self._start, position.start), (self._end, position.end), (self._last, position.last))
        values = {name: value for key, row in keys for name, value in zip(key.parameters, row or (), strict=False)}
        return values | {"most": 2 * self._measure_window(position)}

    def _measure_window(self, position: Position) -> int:
        """Returns the number of patients in a window."""
        return self._window * (_GROWTH if position.is_long else 1)

    def _decode(self, token: str, query: bytes) -> Position:
        try:
            return Position(*cursor.decode(token, query, self._position))
        except cursor.InvalidCursorError:
            raise PageTokenInvalid from None

    def _build_walk(self, *, start: bool, end: bool, last: bool) -> Statement:
        window = self._select_from(start=start)
        if end:
            window = self._end.stop(window)
        # Both keep the conditions of the window, which its index answers, apart from the others. The limit only shows
        # Postgres that the window is short. Between the pages of a ranked window, new patients could exceed it.
        window = window.offset(0) if self._ranked else window.limit(bindparam("most", type_=Integer))
        walked = window.subquery("walked").c
        unmet = (each for each in self._conditions if each.column not in self._walked)
        return self._limit(self._select_matches(walked, unmet), walked, last=last)

    def _build_end(self, *, start: bool) -> Statement:
        rows = self._select_from(start=start).with_only_columns(*self._end.columns)
        return Statement(rows.limit(1).offset(bindparam("skipped", type_=Integer)))

    def _build_ids(self, column: str) -> Statement:
        ids = select(patients.c.id).where(*self._tests(column)).limit(LIMIT)
        # Without an order, Postgres might read the table.
        return Statement(ids if column == "words" else ids.order_by(patients.c[column]))

    def _build_sorted(self, *, start: bool, end: bool, last: bool) -> Statement:
        has_id = patients.c.id == any_(bindparam("ids", type_=ARRAY(Uuid)))
        row = select(patients).where(has_id).cte("found").prefix_with("MATERIALIZED").c
        rows = self._select_matches(row, self._conditions)
        return self._limit(self._key(row, prefix="start").skip(rows) if start else rows, row, last=last)

    def _select_matches(self, row: Row, conditions: Iterable[Condition]) -> Select[Any]:
        columns = (*self._sort_key(row).columns, select_message(row))
        return select(*columns).where(*(each.test(row) for each in conditions))

    def _limit(self, rows: Select[Any], row: Row, *, last: bool) -> Statement:
        key = self._sort_key(row)
        return Statement(key.sort(key.skip(rows) if last else rows).limit(LIMIT))

    def _select_from(self, *, start: bool) -> Select[Any]:
        """Selects the patients after the start, in order."""
        walked = (test for name in sorted(self._walked) for test in self._tests(name))
        rows = self._start.sort(select(patients).where(*walked))
        return self._start.skip(rows) if start else rows

    def _tests(self, column: str) -> list[ColumnElement[bool]]:
        return [each.test(patients.c) for each in self._conditions if each.column == column]

    def _key(self, row: Row, *, prefix: str) -> Keyset:
        return Keyset([row[name] for name in self._names], self._descending, prefix=prefix)

    def _sort_key(self, row: Row) -> Keyset:
        if not self._ranked:
            return self._key(row, prefix="last")
        columns = [_rank(row).label("rank"), *(row[name] for name in self._names)]
        return Keyset(columns, [False, *self._descending], prefix="last")


_INDEXED: Final = ("words", "sex", "date_of_birth", "registered_date")
"""The columns of conditions that an index answers."""


def find_walked_columns(order: Sequence[str]) -> set[str]:
    """Returns the columns whose conditions are answered by an index that is also sorted by the sort columns."""
    return {"create_time", "sex"} if order[0] == "create_time" else {order[0]}


def match_word(number: int, *, is_searched: bool) -> Condition:
    """Returns the condition that a patient matches a word of a query, by the word's number."""
    return Condition(
        "words" if is_searched else "", lambda row: row.words.like(bindparam(f"word_{number}", type_=Text))
    )


def name_patterns(patterns: Patterns) -> dict[str, Any]:
    """Returns the values of the parameters for a query."""
    words = {f"word_{number}": pattern for number, pattern in enumerate(patterns.part)}
    return {**words, "equal": patterns.equal, "prefix": patterns.prefix}


def _rank(row: Row) -> ColumnElement[int]:
    equal, prefix = (row.words.like(all_(bindparam(name, type_=ARRAY(Text)))) for name in ("equal", "prefix"))
    return case((equal, 0), (prefix, 1), else_=2)
