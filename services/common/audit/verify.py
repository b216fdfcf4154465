"""Proves that no access event was changed, removed or added: `python -m services.common.audit.verify SERVICE`.

Recomputes the chain of seals and names the first that is broken. A chain that was cut at its end is whole in itself:
`--head HASH`, the hash of a seal that was kept elsewhere, finds that. The environment is the service's.
"""

import argparse
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from uuid import UUID

from asyncpg import Record

from services.common.audit.seals import BEFORE_THE_FIRST, seal
from services.common.audit.tables import AuditTables
from services.common.contract import SERVICES
from services.common.db import Database
from services.common.journal import Place, place_of
from services.common.server import run
from services.common.settings import DatabaseSettings

_PAGE = 1000


class BrokenError(Exception):
    """Occurs when the chain or an event in it is not what it was. The text names the first that is wrong."""


class Chain:
    """The chain as far as it has been proved."""

    def __init__(self, tables: AuditTables, looked_for: bytes = b"") -> None:
        """Takes the hash of a seal that must be in it, if one is known."""
        self._tables = tables
        self.number = 0
        self.head = BEFORE_THE_FIRST
        self.place = Place(0, 0)
        self._missing = looked_for

    def add(self, row: Record) -> None:
        """Proves one more seal, with its event. Raises BrokenError."""
        number, where = self.number + 1, f"seal {row['number']}, event {row['event_id']}"
        if row["number"] != number:
            raise BrokenError(f"seal {number} is missing: the one that follows is {where}")
        if row["id"] is None:
            raise BrokenError(f"{where}: the event is missing")
        if Place(row["seal_transaction"], row["seal_position"]) != place_of(row) or place_of(row) <= self.place:
            raise BrokenError(f"{where}: the event is out of place")
        if seal(self.head, number, self._tables.sealed_values(row)) != row["hash"]:
            raise BrokenError(f"{where}: the event or the seal was changed")
        self.number, self.head, self.place = number, row["hash"], place_of(row)
        if self.head == self._missing:
            self._missing = b""

    def end(self, added: UUID | None) -> None:
        """Proves that this is all. Raises BrokenError."""
        if added:
            raise BrokenError(f"event {added} was added among those that are sealed, and has no seal")
        if self._missing:
            raise BrokenError(f"the chain ends with seal {self.number}, without the one that is {self._missing.hex()}")


async def verify(db: Database, tables: AuditTables, head: bytes = b"") -> tuple[Chain, int]:
    """Returns the chain, and how many events are not sealed yet. Raises BrokenError."""
    chain = Chain(tables, head)
    async for row in _seals(db, tables):
        chain.add(row)
    transaction, position = chain.place
    added = await db.row(tables.first_unsealed_event, transaction=transaction, position=position)
    chain.end(added["id"] if added else None)
    [unsealed] = await db.rows(tables.count_events_behind, transaction=transaction, position=position)
    return chain, unsealed["count"]


async def _seals(db: Database, tables: AuditTables) -> AsyncIterator[Record]:
    """Yields the seals, each with its event if that is there."""
    number = 0
    while rows := await db.rows(tables.list_seals, number=number, limit=_PAGE):
        for row in rows:
            yield row
        number = rows[-1]["number"]


def tables_of(service: str) -> AuditTables:
    """Returns the audit's tables of a service, by its short name."""
    tables: AuditTables = import_module(f"services.{service}.models").AUDIT
    return tables


async def main() -> None:
    """Verifies once. Exits with what is broken, and status 1, if anything is."""
    parser = argparse.ArgumentParser(prog="python -m services.common.audit.verify", description=__doc__)
    parser.add_argument("service", choices=SERVICES, help="whose audit to verify")
    parser.add_argument("--head", type=bytes.fromhex, default=b"", help="the hash of a seal, kept elsewhere")
    options = parser.parse_args()
    name: str = options.service
    async with Database(DatabaseSettings.read().database_url) as db:
        try:
            chain, unsealed = await verify(db, tables_of(name), options.head)
        except BrokenError as error:
            sys.exit(f"The audit of {name} is broken: {error}.")
    sys.stdout.write(
        f"The audit of {name} is whole: {chain.number} events are sealed, {unsealed} not yet."
        f" Its head is {chain.head.hex()}\n"
    )


if __name__ == "__main__":
    run(main)
