"""Lists of patients whose pages cost about the same, whatever the number of patients.

A page is read in one of two ways. A walk reads a window of patients, the next ones in the requested order, and keeps
those that match. If few patients match, an index of a condition finds all that remain, and they are sorted. A query
without frequent words begins with its index, other lists with a walk. The patient whose email address or record number
is the query precedes all, on a page of its own.
"""

from collections.abc import Mapping, Sequence
from types import GenericAlias
from typing import Any, Final, Literal, NamedTuple

from asyncpg import Record

from services.common.emails import build_key
from services.common.errors import PageTokenInvalid, ValueRejected
from services.common.postgres import cursor
from services.common.postgres.database import Database
from services.common.postgres.paging import effective_page_size, encode_query
from services.patient.search_statements import Condition, SearchStatements
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


IDENTIFIED: Final = "id"
"""The column of the position after the patient whom the query identifies: the other matches begin there."""


class Position(NamedTuple):
    """The place where a page begins."""

    column: str = ""
    """The column whose index finds the matches, nothing for a walk, or IDENTIFIED."""
    is_long: bool = False
    """Whether the window of a walk is longer than usual."""
    start: Sequence[Any] | None = None
    """The sort columns of the patient before the window."""
    end: Sequence[Any] | None = None
    """The sort columns of the last patient in the window, unless it contains all that are left."""
    last: Sequence[Any] | None = None
    """The rank and the sort columns of the last patient of the previous page, if the window has more ranked matches."""


Page = tuple[Sequence[Record], Position | None]
"""The rows of a page, and the position of the next page."""


class BoundedListing:
    """The patients that match all conditions, in the order of the sort columns.

    Ranked matches of a query are sorted by rank first: within a window, or all of them if they are few. The rank is 0
    if all words are equal to words of the patient, 1 if they are beginnings of words, else 2. The patient whom
    the query identifies precedes them.
    """

    def __init__(
        self,
        order: Sequence[str],
        descending: Sequence[bool],
        conditions: Sequence[Condition],
        *,
        searched: int = 0,
        ranked: bool = False,
        identifies: bool = False,
    ) -> None:
        """Takes the names of the sort columns, which together identify a patient, their directions, and conditions.

        `searched` is the number of patterns that the index of the words is searched for. `identifies` is whether the
        query can be an email address or a record number.
        """
        self._ranked, self._identifies = ranked, identifies
        tested = {"words" if searched else "", *(each.column for each in conditions)}
        self._indexed = [name for name in _INDEXED if name in tested]
        self._window = measure_window(order)
        self._statements = SearchStatements(
            order, descending, conditions, searched=searched, ranked=ranked, identifies=identifies
        )
        key = self._statements.start.types | None
        keys = (key, key, self._statements.last.types | None if ranked else None)
        self._position = GenericAlias(tuple, (Literal["", IDENTIFIED, *self._indexed], bool, *keys))

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

    async def _read(self, db: Database, position: Position, size: int, values: Mapping[str, Any]) -> Page:
        """Returns the rows of a page, and the position of the next page."""
        identifies = self._identifies and position == Position()
        if identifies and (rows := await db.rows(self._statements.identified(), **values)):
            return rows, Position(column=IDENTIFIED)
        if position.column == IDENTIFIED:
            position = Position()
        if position.column:
            _, page = await self._read_few(db, position, size, values, is_first=False)
            return page
        columns = self._indexed
        if "words" in columns and position == Position():
            few = position._replace(column="words")
            is_few, page = await self._read_few(db, few, size, values, unless_frequent=True)
            if is_few:
                return page
            if is_few is False:
                columns = columns[1:]
        return await self._walk(db, position, size, values, columns)

    async def _walk(
        self, db: Database, position: Position, size: int, values: Mapping[str, Any], columns: Sequence[str]
    ) -> Page:
        """Reads windows. If the first has few matches, looks for all of them in the indexes of the columns."""
        rows: list[Record] = []
        examined, is_first = 0, position.last is None
        while True:
            found, position = await self._read_window(db, position, size + 1 - len(rows), values)
            rows += found
            if len(rows) > size:
                return rows[:size], self._follow(position, rows[size - 1])
            if position.end is None:
                return rows, None
            for column in columns if is_first and len(rows) < _SPARSE else ():
                few = Position(column=column, start=position.start)
                is_few, page = await self._read_few(db, few, size, values)
                if is_few:
                    return page
            examined += self._measure(position)
            if len(rows) >= min(_SPARSE, size) or (position.is_long and (rows or examined >= EXAMINED * self._window)):
                return rows, Position(start=position.end)
            position, is_first = Position(is_long=True, start=position.end), False

    async def _read_window(
        self, db: Database, position: Position, limit: int, values: Mapping[str, Any]
    ) -> tuple[Sequence[Record], Position]:
        """Returns matches in a window, and the position with the end of the window."""
        values = {**values, **self._name_values(position), "limit": limit}
        start = position.start is not None
        if position.last is not None:
            statement = self._statements.rest(start=start, end=position.end is not None, last=True)
            return await db.rows(statement, **values), position
        statement = self._statements.window(length=self._measure(position), start=start)
        rows = await db.rows(statement, **values)
        end = tuple(rows[0][name] for name in self._statements.end.parameters)
        return _drop_empty(rows), position._replace(end=None if None in end else end)

    async def _read_few(
        self,
        db: Database,
        position: Position,
        size: int,
        values: Mapping[str, Any],
        *,
        unless_frequent: bool = False,
        is_first: bool = True,
    ) -> tuple[bool | None, Page]:
        """Returns whether an index finds few patients, or None if that is unknown, and a page of the matches."""
        has = {name: getattr(position, name) is not None for name in ("start", "last")}
        build = self._statements.few
        statement = build(position.column, unless_frequent=unless_frequent, is_first=is_first, **has)
        rows = await db.rows(statement, **values, **self._name_values(position), limit=size + 1)
        is_few, matches = rows[0]["is_few"], _drop_empty(rows)
        if len(matches) <= size:
            return is_few, (matches, None)
        return is_few, (matches[:size], self._follow(position, matches[size - 1]))

    def _follow(self, position: Position, row: Record) -> Position:
        """Returns the position after a row of a page."""
        last = [row[name] for name in self._statements.last.names]
        return position._replace(last=last) if self._ranked else Position(column=position.column, start=last)

    def _name_values(self, position: Position) -> dict[str, Any]:
        statements = self._statements
        keys = ((statements.start, position.start), (statements.end, position.end), (statements.last, position.last))
        values = {name: value for key, row in keys for name, value in zip(key.parameters, row or (), strict=False)}
        return values | {"most": 2 * self._measure(position)}

    def _measure(self, position: Position) -> int:
        """Returns the number of patients in a window."""
        return self._window * (_GROWTH if position.is_long else 1)

    def _decode(self, token: str, query: bytes) -> Position:
        try:
            return Position(*cursor.decode(token, query, self._position))
        except cursor.InvalidCursorError:
            raise PageTokenInvalid from None


def measure_window(order: Sequence[str]) -> int:
    """Returns the number of patients in a window."""
    return WINDOW if order[0] == "create_time" else SCATTERED_WINDOW


def name_identifiers(query: str) -> dict[str, Any]:
    """Returns the values of the parameters for a query that can be an email address or a record number."""
    return {"email_key": build_key(query), "record_number": query}


def name_patterns(patterns: Patterns) -> dict[str, Any]:
    """Returns the values of the parameters for the words of a query."""
    words = {f"word_{number}": pattern for number, pattern in enumerate(patterns.part)}
    searched = {f"searched_{number}": pattern for number, pattern in enumerate(patterns.searched)}
    return {**words, **searched, "equal": patterns.equal, "prefix": patterns.prefix}


def _drop_empty(rows: Sequence[Record]) -> Sequence[Record]:
    """Returns the rows that have a patient."""
    return rows if rows[0]["id"] else []


_INDEXED: Final = ("words", "sex", "date_of_birth", "registered_date")
"""The columns of conditions that an index answers."""
