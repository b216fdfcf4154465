"""Journals: tables to which rows are only added, read in an order in which none can appear behind the reader.

A sequence alone gives no such order: a row may be committed after one that has a higher number was read. So rows are
read by the transactions that wrote them, and only when every transaction that began before is over. One that takes
long therefore holds up the readers of all journals of its server.
"""

from collections.abc import Sequence
from typing import NamedTuple

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    Integer,
    Table,
    bindparam,
    literal_column,
    select,
    text,
    tuple_,
)

from services.common.postgres.database import Database, Statement, Transaction

_OLDEST_UNDER_WAY = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", BigInteger)


class JournalPosition(NamedTuple):
    """A place in a journal: behind all rows of earlier transactions, and those of this one up to a position."""

    transaction: int
    position: int


START = JournalPosition(0, 0)


def journal_columns() -> tuple[Column[int], Column[int]]:
    """Returns the columns that make a table a journal: the transaction that wrote a row, and its position."""
    return (
        Column("transaction", BigInteger, nullable=False, server_default=text("pg_current_xact_id()::text::bigint")),
        Column("position", BigInteger, Identity(always=True), nullable=False),
    )


class Journal:
    """A table with journal_columns."""

    def __init__(self, table: Table) -> None:
        """Takes the table, and adds the index that the journal is read by."""
        row = table.c
        Index(f"{table.name}_journal", row.transaction, row.position)
        place = tuple_(row.transaction, row.position)
        behind = tuple_(bindparam("transaction", type_=BigInteger), bindparam("position", type_=BigInteger))
        self._after = Statement(
            select(table)
            .where(place > behind, row.transaction < _OLDEST_UNDER_WAY)
            .order_by(row.transaction, row.position)
            .limit(bindparam("limit", type_=Integer))
        )
        last = select(row.transaction, row.position).where(row.transaction < _OLDEST_UNDER_WAY)
        self._end = Statement(last.order_by(row.transaction.desc(), row.position.desc()).limit(1))
        self._there = Statement(last.where(place == behind))

    async def read_after(self, db: Database | Transaction, place: JournalPosition, *, limit: int) -> Sequence[Record]:
        """Returns the rows that follow a place, in order. A later call may return more, all behind these."""
        return await db.rows(self._after, transaction=place.transaction, position=place.position, limit=limit)

    async def find_end(self, db: Database) -> JournalPosition:
        """Returns the place behind all rows that `after` can return now: that of a row, or START if there is none.

        Not that of a transaction that wrote nothing here, whose number is given again if the server dies with it.
        """
        row = await db.row(self._end)
        return position_of(row) if row else START

    async def contains(self, db: Database, place: JournalPosition) -> bool:
        """Returns whether `after` or `end` can have given a place: not if the rows up to it are not all there."""
        return place == START or await db.row(self._there, **place._asdict()) is not None


def position_of(row: Record) -> JournalPosition:
    """Returns the place behind a row."""
    return JournalPosition(row["transaction"], row["position"])
