"""Lists of patients whose pages cost about the same, whatever the number of patients.

A page is read in one of two ways. A walk reads a window of patients, the next ones in the requested order, and keeps
those that match. If few patients match, an index of a condition finds all that remain, and they are sorted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import GenericAlias
from typing import Any, Final, Literal, NamedTuple

from asyncpg import Record
from sqlalchemy import ColumnElement, Integer, Label, Select, Text, all_, bindparam, case, func, literal, select
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

EXAMINED: Final = 30_000
"""The number of patients that are examined before a page is returned empty although more may follow."""

FEW: Final = 300
"""The number of matches that are sorted at once."""


class Condition(NamedTuple):
    """A condition of a list."""

    column: str
    """The column that it tests. All conditions of a column are answered by its index, if it has one."""
    test: Callable[[Row], ColumnElement[bool]]


class Position(NamedTuple):
    """The place where a page begins."""

    column: str = ""
    """The column whose index finds the matches, or nothing for a walk."""
    is_long: bool = False
    """Whether the window of a walk is longer than usual."""
    start: Sequence[Any] | None = None
    """The sort columns of the patient before the window."""
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
        keys = (self._start.types | None, self._last.types | None if ranked else None)
        self._position = GenericAlias(tuple, (Literal["", *self._indexed], bool, *keys))
        self._walk_statement = cache(self._build_walk)
        self._end_statement = cache(self._build_end)
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
        examined, can_count = 0, position.last is None
        while True:
            page += await self._read_rows(db, position, limit=size + 1 - len(page), **values)
            if len(page) > size:
                return page[:size], self._follow(position, page[size - 1])
            if position.column:
                return page, None
            can_count &= len(page) < _SPARSE
            following = await self._skip_window(db, position, values, counts=can_count)
            if following is None:
                return page, None
            examined += self._measure_window(position)
            if following.column:
                page.clear()
            elif len(page) >= min(_SPARSE, size) or (position.is_long and (page or examined >= EXAMINED)):
                return page, following
            else:
                following = following._replace(is_long=True)
            position, can_count = following, False

    def _follow(self, position: Position, row: Record) -> Position:
        """Returns the position after a row of a page."""
        last = [row[name] for name in self._last.names]
        return position._replace(last=last) if self._ranked else Position(column=position.column, start=last)

    async def _read_rows(self, db: Database, position: Position, **values: Any) -> Sequence[Record]:
        has_start, has_last = position.start is not None, position.last is not None
        if position.column:
            statement = self._sorted_statement(position.column, has_start=has_start, has_last=has_last)
        else:
            statement = self._walk_statement(has_start=has_start, has_last=has_last)
        return await db.rows(statement, **values, **self._name_values(position))

    async def _skip_window(
        self, db: Database, position: Position, values: Mapping[str, Any], *, counts: bool
    ) -> Position | None:
        """Returns the position after a window, or None if no matches follow.

        If `counts` is set and an index finds few matches, returns the position of the window for that index.
        """
        counted = self._indexed if counts else []
        statement = self._end_statement(has_start=position.start is not None, counts=counts)
        row = await db.row(statement, **values, **self._name_values(position))
        if row is None:
            return None
        if counted:
            column = min(counted, key=row.__getitem__)
            if row[column] <= FEW:
                return position._replace(column=column) if row[column] else None
        return Position(start=[row[name] for name in self._start.parameters])

    def _name_values(self, position: Position) -> dict[str, Any]:
        window = self._measure_window(position)
        pairs = [("limit_of_window", window), ("end_of_window", window - 1)]
        pairs += zip(self._start.parameters, position.start or (), strict=False)
        pairs += zip(self._last.parameters, position.last or (), strict=False)
        return dict(pairs)

    def _measure_window(self, position: Position) -> int:
        """Returns the number of patients in a window."""
        return self._window * (_GROWTH if position.is_long else 1)

    def _decode(self, token: str, query: bytes) -> Position:
        try:
            return Position(*cursor.decode(token, query, self._position))
        except cursor.InvalidCursorError:
            raise PageTokenInvalid from None

    def _build_walk(self, *, has_start: bool, has_last: bool) -> Statement:
        walked = self._select_window(has_start=has_start).subquery("walked").c
        unmet = (each for each in self._conditions if each.column not in self._walked)
        return self._limit(self._select_matches(walked, unmet), walked, has_last=has_last)

    def _build_end(self, *, has_start: bool, counts: bool) -> Statement:
        """Selects the sort columns of the last patient in a window, and how many patients each index finds."""
        end = zip(self._start.columns, self._start.parameters, strict=True)
        columns = [column.label(name) for column, name in end]
        if counts:
            columns += (self._count_few(name) for name in self._indexed)
        rows = self._select_window(has_start=has_start).with_only_columns(*columns)
        return Statement(rows.limit(1).offset(bindparam("end_of_window", type_=Integer)))

    def _build_sorted(self, index: str, *, has_start: bool, has_last: bool) -> Statement:
        found = select(patients).where(*self._tests(index)).cte("found").prefix_with("MATERIALIZED")
        others = (each for each in self._conditions if each.column != index)
        rows = self._select_matches(found.c, others)
        if has_start:
            rows = self._key(found.c, prefix="start").skip(rows)
        return self._limit(rows, found.c, has_last=has_last)

    def _select_matches(self, row: Row, conditions: Iterable[Condition]) -> Select[Any]:
        columns = (*self._sort_key(row).columns, select_message(row))
        return select(*columns).where(*(each.test(row) for each in conditions))

    def _limit(self, rows: Select[Any], row: Row, *, has_last: bool) -> Statement:
        key = self._sort_key(row)
        return Statement(key.sort(key.skip(rows) if has_last else rows).limit(LIMIT))

    def _select_window(self, *, has_start: bool) -> Select[Any]:
        walked = (test for name in sorted(self._walked) for test in self._tests(name))
        rows = self._start.sort(select(patients).where(*walked))
        return (self._start.skip(rows) if has_start else rows).limit(bindparam("limit_of_window", type_=Integer))

    def _count_few(self, index: str) -> Label[int]:
        """Returns the number of patients that an index finds, up to one more than few."""
        some = select(literal(1)).select_from(patients).where(*self._tests(index)).limit(FEW + 1)
        if index != "words":  # without an order, Postgres might read the table
            some = some.order_by(patients.c[index])
        return select(func.count()).select_from(some.subquery()).scalar_subquery().label(index)

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


def match_word(number: int) -> Condition:
    """Returns the condition that a patient matches a word of a query, by the word's number."""
    return Condition("words", lambda row: row.words.like(bindparam(f"word_{number}", type_=Text)))


def name_patterns(patterns: Patterns) -> dict[str, Any]:
    """Returns the values of the parameters for a query."""
    words = {f"word_{number}": pattern for number, pattern in enumerate(patterns.part)}
    return {**words, "equal": patterns.equal, "prefix": patterns.prefix}


def _rank(row: Row) -> ColumnElement[int]:
    equal, prefix = (row.words.like(all_(bindparam(name, type_=ARRAY(Text)))) for name in ("equal", "prefix"))
    return case((equal, 0), (prefix, 1), else_=2)
