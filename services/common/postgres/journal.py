"""Journals: append-only tables that are read in an order in which no row can appear before a reader's position.

A sequence alone does not provide this order, because a row can be committed after a row with a higher number was read.
Rows are therefore ordered by the transaction that wrote them, and a row is visible once all transactions that began
earlier have ended. A long transaction delays the readers of all journals on its server.

A reader sees all rows of a guarded table, so it must check itself which rows a caller may see.

The function `journal_number` of the database numbers transactions. The numbers keep increasing after the database is
restored into another server (see `incarnation`).
"""

import asyncio
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

from services.common.errors import DependencyUnavailable
from services.common.postgres.database import Database, Transaction
from services.common.postgres.guards import see_all
from services.common.postgres.incarnation import incarnations_table
from services.common.postgres.statement import Statement

_OLDEST_RUNNING = literal_column("journal_number(pg_snapshot_xmin(pg_current_snapshot()))", BigInteger)

_NEXT = literal_column("journal_number(pg_snapshot_xmax(pg_current_snapshot()))", BigInteger)
_FIND_TRANSACTIONS = Statement(select(_OLDEST_RUNNING.label("oldest_running"), _NEXT.label("next")))
_POLL_SECONDS = 0.02
_MAX_WAIT_SECONDS = 10


class JournalPosition(NamedTuple):
    """A position in a journal: after all rows of earlier transactions, and the rows of this one up to a position."""

    transaction: int
    position: int


START = JournalPosition(0, 0)


def journal_columns() -> tuple[Column[int], Column[int]]:
    """Returns the columns that a journal needs: the transaction that wrote a row, and the row's position."""
    return (
        Column("transaction", BigInteger, nullable=False, server_default=text("journal_number(pg_current_xact_id())")),
        Column("position", BigInteger, Identity(always=True), nullable=False),
    )


class Journal:
    """A table with journal_columns."""

    def __init__(self, table: Table) -> None:
        """Takes the table, and adds the index of the journal to it."""
        row = table.c
        if "incarnations" not in table.metadata.tables:
            incarnations_table(table.metadata)
        Index(f"{table.name}_journal", row.transaction, row.position)
        position = tuple_(row.transaction, row.position)
        given = tuple_(bindparam("transaction", type_=BigInteger), bindparam("position", type_=BigInteger))
        self._read_after = Statement(
            see_all(select(table))
            .where(position > given, row.transaction < _OLDEST_RUNNING)
            .order_by(row.transaction, row.position)
            .limit(bindparam("limit", type_=Integer))
        )
        last = see_all(select(row.transaction, row.position)).where(row.transaction < _OLDEST_RUNNING)
        self._find_end = Statement(last.order_by(row.transaction.desc(), row.position.desc()).limit(1))
        self._get = Statement(last.where(position == given))

    async def read_after(
        self, db: Database | Transaction, position: JournalPosition, *, limit: int
    ) -> Sequence[Record]:
        """Returns the rows after a position, in order. Rows that become visible later follow these."""
        return await db.rows(self._read_after, **position._asdict(), limit=limit)

    async def find_end(self, db: Database) -> JournalPosition:
        """Returns the position of the last row that `read_after` can return now, or START if there is none.

        The position is always that of a row: the number of a transaction without rows can be assigned a second time
        after a crash of the server.
        """
        row = await db.row(self._find_end)
        return position_of(row) if row else START

    async def find_current_end(self, db: Database) -> JournalPosition:
        """Returns a position after all rows that are committed now.

        Waits until the running transactions have ended. Raises DependencyUnavailable if one takes longer than 10 s.
        """
        try:
            async with asyncio.timeout(_MAX_WAIT_SECONDS):
                [(oldest_running, end)] = await db.rows(_FIND_TRANSACTIONS)
                while oldest_running < end:
                    await asyncio.sleep(_POLL_SECONDS)
                    [(oldest_running, _)] = await db.rows(_FIND_TRANSACTIONS)
        except TimeoutError as error:
            raise DependencyUnavailable from error
        return await self.find_end(db)

    async def contains(self, db: Database, position: JournalPosition) -> bool:
        """Returns whether a position is START or the position of an existing row."""
        return position == START or await db.row(self._get, **position._asdict()) is not None


def position_of(row: Record) -> JournalPosition:
    """Returns the position of a row."""
    return JournalPosition(row["transaction"], row["position"])
