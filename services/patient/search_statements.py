"""The statements of a bounded list. Each reads a bounded number of patients, and has one plan for all values.

Postgres plans a statement again for each call while it expects to gain from the values. Hence the numbers of rows are
constants, and the values that the choice of an index depends on come from subqueries, whose results Postgres does not
know when it plans.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Subquery,
    Text,
    all_,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.postgres.paging import LIMIT, Keyset, Row, constant
from services.common.postgres.statement import Statement
from services.patient.models import VISIBLE_PATIENTS, build_record_number_key, is_visible, patients, select_message

FEW: Final = 300
"""The number of matches that are sorted at once."""

_MOST: Final = 10 * FEW
"""The number of them that may match when a later page is read."""

_SAMPLE: Final = 200
"""The number of the newest patients that are examined before the index of the words is searched."""

_FREQUENT: Final = 2
"""Words are frequent if so many of these patients have them. One may be the new patient that is searched."""


class Condition(NamedTuple):
    """A condition of a list."""

    column: str
    """The column that it tests. All conditions of a column are answered by its index, if it has one.

    It is empty for a condition that no index should answer.
    """
    test: Callable[[Row], ColumnElement[bool]]


class SearchStatements:
    """The statements that read the patients that match all conditions, in the order of the sort columns.

    The parameters of a position are named after its fields and the sort columns.
    """

    def __init__(
        self,
        order: Sequence[str],
        descending: Sequence[bool],
        conditions: Sequence[Condition],
        *,
        searched: int,
        ranked: bool,
        identifies: bool,
    ) -> None:
        """Takes the arguments of BoundedListing."""
        self._names = order
        self._descending = descending
        self._conditions = conditions
        self._searched = [_select_parameter(f"searched_{number}") for number in range(searched)]
        self._ranked = ranked
        self._identified = _select_identified() if identifies else None
        self._walked = find_walked_columns(order)
        self.start = self._key(patients.c, prefix="start")
        self.end = self._key(patients.c, prefix="end")
        self.last = self._sort_key(patients.c)
        self.few = cache(self._build_few)
        self.window = cache(self._build_window)
        self.rest = cache(self._build_rest)
        self.identified = cache(self._build_identified)

    def _build_identified(self) -> Statement:
        """Selects the patient whose email address or record number is the query, unless another condition is unmet."""
        rows = VISIBLE_PATIENTS.with_only_columns(*self._sort_key(patients.c).columns, select_message(patients.c))
        return Statement(
            rows.where(patients.c.id == self._identified, *(each.test(patients.c) for each in self._conditions))
        )

    def _build_few(self, column: str, *, unless_frequent: bool, is_first: bool, start: bool, last: bool) -> Statement:
        """Selects all matches with an index of the column, if it finds few patients or the page is not the first.

        The column `is_few` tells whether it does. It is null if that is unknown, because many patients may match or the
        index was searched only for some of the words. There is at least one row, without a patient if none matches.
        """
        most = FEW + 1 if is_first else _MOST
        is_few: ColumnElement[Any] = func.count() < constant(most)
        if unless_frequent:
            sample = self._select_sample().cte("frequent").c
            is_frequent, is_partial, *patterns = (select(each).scalar_subquery() for each in sample)
            found = VISIBLE_PATIENTS.where(*map(patients.c.words.like, patterns), ~is_frequent)
            is_few = case((or_(is_frequent, and_(is_partial, ~is_few)), null()), else_=is_few)
        elif column == "words":
            found = VISIBLE_PATIENTS.where(*map(patients.c.words.like, self._searched))
        else:  # without an order, Postgres might read the table
            found = VISIBLE_PATIENTS.where(*self._tests(column)).order_by(patients.c[column])
        row = found.limit(constant(most)).cte("found").prefix_with("MATERIALIZED")
        counted = select(is_few.label("is_few")).select_from(row).cte("counted")
        matches = self._select_matches(row.c, self._conditions, start=start, last=last)
        if is_first:
            matches = matches.where(select(counted.c.is_few).scalar_subquery())
        return self._join(counted, matches.subquery("matches"))

    def _build_window(self, *, length: int, start: bool) -> Statement:
        """Selects the matches in a window: the next patients, in order.

        The columns `end_*` are the sort columns of its last patient, or null if fewer patients are left. There is at
        least one row, without a patient if none matches.
        """
        ends = (column.label(name) for column, name in zip(self.end.columns, self.end.parameters, strict=True))
        rows = self._select_from(start=start)
        end = rows.with_only_columns(*ends).limit(constant(1)).offset(constant(length - 1)).subquery("window_end")
        matches = self._walk(rows.limit(constant(length)), last=False).subquery("matches")
        one = select(constant(1).label("one")).subquery("one")
        return self._join(select(*end.c).select_from(one.outerjoin(end, true())).subquery("ended"), matches)

    def _build_rest(self, *, start: bool, end: bool, last: bool) -> Statement:
        """Selects the matches in a window whose end is known, or in all that is left."""
        window = self._select_from(start=start)
        if end:
            window = self.end.stop(window)
        # Both keep the conditions of the window, which its index answers, apart from the others. The limit only shows
        # Postgres that the window is short. Between the pages of a ranked window, new patients could exceed it.
        window = window.offset(constant(0)) if self._ranked else window.limit(bindparam("most", type_=Integer))
        return Statement(self._walk(window, last=last))

    def _select_from(self, *, start: bool) -> Select[Any]:
        """Selects the patients after the start, in order."""
        walked = (test for name in sorted(self._walked) for test in self._tests(name))
        rows = self.start.sort(VISIBLE_PATIENTS.where(*walked))
        return self.start.skip(rows) if start else rows

    def _walk(self, window: Select[Any], *, last: bool) -> Select[Any]:
        row = window.subquery("walked").c
        unmet = (each for each in self._conditions if each.column not in self._walked)
        return self._select_matches(row, unmet, last=last)

    def _select_sample(self) -> Select[Any]:
        """Selects whether matches are frequent in a sample, and the patterns that the index is searched for.

        If some of the words are frequent but not all, the index is searched only for the others. It reads long lists
        for frequent words.
        """
        newest = VISIBLE_PATIENTS.with_only_columns(patients.c.words).order_by(
            patients.c.create_time.desc(), patients.c.id.desc()
        )
        sampled = newest.limit(constant(_SAMPLE)).subquery("newest").c.words
        tests = [sampled.like(pattern) for pattern in self._searched]
        counts = (func.count().filter(test) >= constant(_FREQUENT) for test in (and_(*tests), *tests))
        sample = select(*(each.label(f"frequent_{number}") for number, each in enumerate(counts))).subquery("sample")
        is_frequent, *frequent = sample.c
        is_partial = and_(or_(*frequent), ~and_(*frequent))
        patterns = (
            case((and_(is_partial, each), literal_column("'%'", Text)), else_=pattern).label(f"pattern_{number}")
            for number, (each, pattern) in enumerate(zip(frequent, self._searched, strict=True))
        )
        return select(is_frequent.label("is_frequent"), is_partial.label("is_partial"), *patterns)

    def _select_matches(
        self, row: Row, conditions: Iterable[Condition], *, start: bool = False, last: bool = False
    ) -> Select[Any]:
        key = self._sort_key(row)
        rows = select(*key.columns, select_message(row)).where(*(each.test(row) for each in conditions))
        if self._identified is not None:
            rows = rows.where(row.id.is_distinct_from(self._identified))
        if start:
            rows = self._key(row, prefix="start").skip(rows)
        return key.sort(key.skip(rows) if last else rows).limit(select(LIMIT).scalar_subquery())

    def _join(self, one: FromClause, matches: Subquery) -> Statement:
        """Adds the columns of a single row to all matches, or returns that row alone if there are none."""
        rows = select(*one.c, *matches.c).select_from(one.outerjoin(matches, true()))
        return Statement(Keyset([matches.c[name] for name in self.last.names], self.last.descending).sort(rows))

    def _tests(self, column: str) -> list[ColumnElement[bool]]:
        return [each.test(patients.c) for each in self._conditions if each.column == column]

    def _key(self, row: Row, *, prefix: str) -> Keyset:
        return Keyset([row[name] for name in self._names], self._descending, prefix=prefix)

    def _sort_key(self, row: Row) -> Keyset:
        if not self._ranked:
            return self._key(row, prefix="last")
        columns = [_rank(row).label("rank"), *(row[name] for name in self._names)]
        return Keyset(columns, [False, *self._descending], prefix="last")


def find_walked_columns(order: Sequence[str]) -> set[str]:
    """Returns the columns whose conditions are answered by an index that is also sorted by the sort columns."""
    return {"create_time", "sex"} if order[0] == "create_time" else {order[0]}


def match_word(number: int) -> Condition:
    """Returns the condition that a patient matches a word of a query, by the word's number."""
    return Condition("", lambda row: row.words.like(_select_parameter(f"word_{number}")))


def _select_identified() -> ColumnElement[Any]:
    """Selects the id of the patient whose email address, or else whose record number, is the query."""
    each = patients.alias("identified").c
    given = select(bindparam("record_number", type_=Text).label("number")).subquery("given")
    given_key = select(literal_column(build_record_number_key("given.number"), Text)).select_from(given)
    keys = (
        each.email_key == _select_parameter("email_key"),
        literal_column(build_record_number_key("identified.medical_record_number"), Text)
        == given_key.scalar_subquery(),
    )
    ids = (select(each.id).where(key, is_visible(each)).scalar_subquery() for key in keys)
    return select(func.coalesce(*ids)).scalar_subquery()


def _select_parameter(name: str) -> ColumnElement[str]:
    return select(bindparam(name, type_=Text)).scalar_subquery()


def _rank(row: Row) -> ColumnElement[int]:
    equal, prefix = (row.words.like(all_(bindparam(name, type_=ARRAY(Text)))) for name in ("equal", "prefix"))
    return case((equal, constant(0)), (prefix, constant(1)), else_=constant(2))
