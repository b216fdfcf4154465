"""Searches of patients by words, in a time that hardly grows with the number of patients.

A page is read in one of two ways. A walk reads the first patients in the requested order and keeps those that match, so
it is fast if many match. The trigram index finds all matches, which are then sorted, so it is fast if few match.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from asyncpg import Record
from sqlalchemy import ColumnElement, Integer, Select, Text, all_, bindparam, case, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.postgres.database import Database, Transaction
from services.common.postgres.paging import LIMIT, Keyset, Listing
from services.common.postgres.statement import Statement
from services.patient.models import Row, patients, select_message
from services.patient.words import Patterns

_WALKED: Final = 1000
"""The number of patients that a walk reads."""

_FEW: Final = 300
"""The number of matches that are sorted without a walk."""


class SearchListing(Listing):
    """The patients that match all words of a query. The best matches are first, in the order of the sort columns.

    The rank of a match is 0 if all words are equal to words of the patient, 1 if they are beginnings of words, else 2.
    """

    def __init__(
        self,
        order: Sequence[str],
        descending: Sequence[bool],
        conditions: Callable[[Row], Iterable[ColumnElement[bool]]],
        words: int,
    ) -> None:
        """Takes the names of the sort columns, their directions, more conditions and the number of words."""

        def match(row: Row, source: Select[Any]) -> Select[Any]:
            has_words = (row.words.like(bindparam(f"word_{number}", type_=Text)) for number in range(words))
            has_rank = _rank(row) >= bindparam("least_rank", type_=Integer)
            return source.where(*conditions(row), *has_words, has_rank)

        def select_from(row: Row) -> Select[Any]:
            return select(*(row[name] for name in order), select_message(row), _rank(row).label("rank"))

        matches = match(patients.c, select_from(patients.c))
        found = matches.cte("found").prefix_with("MATERIALIZED")
        super().__init__(
            select(found), found.c.rank, *(found.c[name] for name in order), descending=[False, *descending]
        )
        some = matches.with_only_columns(literal(1)).limit(_FEW + 1).subquery()
        self._count = Statement(select(func.count()).select_from(some))
        self._order = Keyset([patients.c[name] for name in order], descending)
        first = self._order.sort(select(patients)).limit(_WALKED)

        def walk(rows: Select[Any]) -> Statement:
            row = rows.subquery("walked").c
            matching = match(row, select_from(row))
            return Statement(Keyset([row[name] for name in order], descending).sort(matching).limit(LIMIT))

        self._walk_first = walk(first)
        self._walk_following = walk(self._order.skip(first))

    async def read_rows(  # type: ignore[override]
        self,
        db: Database | Transaction,
        after: Sequence[Any] | None,
        *,
        limit: int,
        patterns: Patterns,
        **values: Any,
    ) -> Sequence[Record]:
        """Returns rows up to a limit: the first ones, or those after the row whose sort columns have the values.

        Takes the patterns of each rank. Without ranks, they are equal.
        """
        all_words = _name_words(patterns.part)
        values |= {"equal": patterns.equal, "prefix": patterns.prefix}
        rows: list[Record] = []
        start = after[0] if after else 0
        for rank in range(start, len(patterns)):
            values |= {"least_rank": rank, "limit": limit - len(rows), **_name_words(patterns[rank])}
            found = await self._walk(db, after and after[1:], **values)
            if len(found) < values["limit"]:
                if rank == start and await self._has_few(db, **(values | all_words)):
                    return await super().read_rows(db, after, **(values | all_words))
                found = await super().read_rows(db, after, **values)
            rows += found
            if len(rows) == limit:
                break
            after = None
        return rows

    async def _walk(self, db: Database | Transaction, after: Sequence[Any] | None, **values: Any) -> Sequence[Record]:
        if after is None:
            return await db.rows(self._walk_first, **values)
        return await db.rows(self._walk_following, **values, **dict(zip(self._order.parameters, after, strict=True)))

    async def _has_few(self, db: Database | Transaction, **values: Any) -> bool:
        [[count]] = await db.rows(self._count, **values)
        return bool(count <= _FEW)


def _rank(row: Row) -> ColumnElement[int]:
    equal, prefix = (row.words.like(all_(bindparam(name, type_=ARRAY(Text)))) for name in ("equal", "prefix"))
    return case((equal, 0), (prefix, 1), else_=2)


def _name_words(patterns: Sequence[str]) -> dict[str, str]:
    return {f"word_{number}": pattern for number, pattern in enumerate(patterns)}
