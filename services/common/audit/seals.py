"""Seals: a chain of hashes over the access events, in which no event can be changed, taken out or put in unseen.

Each seal is the SHA-256 of the seal before and of one event. Seals are made behind the writes, not in them: there each
write would have to wait for the one before.
"""

import hashlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from importlib import import_module
from typing import Self
from uuid import UUID

import msgspec
from asyncpg import Record

from services.common.audit.tables import TRY_TO_LOCK_SEALS, AuditTables, compute_group_id, is_group_id, join
from services.common.background import BackgroundTask
from services.common.postgres.database import Database, Transaction
from services.common.postgres.journal import START, JournalPosition, position_of

INITIAL_HASH = bytes(hashlib.sha256().digest_size)
"""What stands in place of the seal before the first."""

_BATCH = 250
_IDLE_SECONDS = 1.0
_WITNESS_SECONDS = 60.0

_log = logging.getLogger(__name__)


def sealed_content(number: int, values: Sequence[object]) -> bytes:
    """Returns what a seal covers: its number and the sealed values of its event, as JSON."""
    return msgspec.json.encode([number, *values])


def seal(before: bytes, content: bytes) -> bytes:
    """Returns the hash that seals content behind another seal."""
    return hashlib.sha256(before + content).digest()


class Sealer:
    """Seals access events about a second after they were written. One of a service's processes works at a time.

    While the chain grows, its head is logged once a minute: a copy of the log tells whether the chain was cut short.
    """

    def __init__(self, db: Database, tables: AuditTables) -> None:
        self._db = db
        self._tables = tables
        self._head = (0, INITIAL_HASH)
        self._place = START
        self._witnessed = (time.monotonic(), 0)
        self._task = BackgroundTask(self._run_round, activity="sealing access events", interval=_IDLE_SECONDS)

    async def __aenter__(self) -> Self:
        self._task.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._task.stop()

    async def seal(self) -> bool:
        """Seals a batch of what is there. Returns True if there may be more."""
        if not await self._tables.journal.read_after(self._db, self._place, limit=1):
            return False  # most of the time, without a transaction
        async with self._db.begin() as tx:
            if await tx.row(TRY_TO_LOCK_SEALS) is None:
                return False
            return await self._seal(tx)

    async def _seal(self, tx: Transaction) -> bool:
        last = await tx.row(self._tables.last_seal)
        number, head = (last["number"], last["hash"]) if last else (0, INITIAL_HASH)
        place = JournalPosition(last["transaction"], last["position"]) if last else START
        self._place = place
        events = await self._tables.journal.read_after(tx, place, limit=_BATCH)
        hashes = []
        for event in events:
            number += 1
            head = seal(head, sealed_content(number, self._tables.sealed_values(event)))
            hashes.append(head)
        if events:
            await tx.run(
                self._tables.insert_seals,
                number=range(number - len(events) + 1, number + 1),
                event_id=[event["id"] for event in events],
                transaction=[event["transaction"] for event in events],
                position=[event["position"] for event in events],
                hash=hashes,
            )
            tx.after_commit(lambda: self._grown(number, head, position_of(events[-1])))
        return len(events) == _BATCH

    def _grown(self, number: int, head: bytes, place: JournalPosition) -> None:
        self._head, self._place = (number, head), place

    async def _run_round(self) -> bool:
        is_full = await self.seal()
        self._witness()
        return is_full

    def _witness(self) -> None:
        number, head = self._head
        logged_time, logged_number = self._witnessed
        if number > logged_number and time.monotonic() - logged_time >= _WITNESS_SECONDS:
            _log.info("the head of the audit's chain is seal %d: %s", number, head.hex())
            self._witnessed = (time.monotonic(), number)


_PAGE = 1000


class AuditIntegrityError(Exception):
    """Occurs when the chain or an event in it is not what it was. The text names the first that is wrong."""


class Chain:
    """The chain as far as it has been proved."""

    def __init__(self, tables: AuditTables, *looked_for: bytes) -> None:
        """Takes the hashes of seals that must be in it, if any are known."""
        self._tables = tables
        self.number = 0
        self.head = INITIAL_HASH
        self.place = JournalPosition(0, 0)
        self._missing = {each for each in looked_for if each}
        self._groups: set[UUID] = set()

    def begin(self, row: Record) -> None:
        """Begins at a seal whose event is archived with all before it."""
        self._follow(row["number"], row["hash"], JournalPosition(row["seal_transaction"], row["seal_position"]))

    def add(self, row: Record) -> bytes:
        """Proves one more seal, and returns what it covers. Raises AuditIntegrityError."""
        number, where = self.number + 1, f"seal {row['number']}, event {row['event_id']}"
        if row["number"] != number:
            raise AuditIntegrityError(f"seal {number} is missing: the one that follows is {where}")
        if row["id"] is None:
            raise AuditIntegrityError(f"{where}: the event is missing")
        if (
            JournalPosition(row["seal_transaction"], row["seal_position"]) != position_of(row)
            or position_of(row) <= self.place
        ):
            raise AuditIntegrityError(f"{where}: the event is out of place")
        content = sealed_content(number, self._tables.sealed_values(row))
        if seal(self.head, content) != row["hash"]:
            raise AuditIntegrityError(f"{where}: the event or the seal was changed")
        self._follow(number, row["hash"], position_of(row))
        self._groups.update(filter(is_group_id, self._tables.subject_ids(row)))
        return content

    async def prove_groups(self, db: Database) -> None:
        """Proves the groups that the events refer to. Raises AuditIntegrityError."""
        after = UUID(int=0)
        while rows := await db.rows(self._tables.list_groups, after=after, limit=_PAGE):
            for row in rows:
                after = row["id"]
                if compute_group_id(join(row["subject_ids"])) != after:
                    raise AuditIntegrityError(f"group {after}: the people in it were changed")
                self._groups.discard(after)
        if self._groups:
            raise AuditIntegrityError(f"group {min(self._groups)} is missing, to which events refer")

    def end(self, added: UUID | None) -> None:
        """Proves that this is all. Raises AuditIntegrityError."""
        if added:
            raise AuditIntegrityError(f"event {added} was added among those that are sealed, and has no seal")
        if self._missing:
            hashes = " and ".join(sorted(each.hex() for each in self._missing))
            raise AuditIntegrityError(f"the chain ends with seal {self.number}, without the one that is {hashes}")

    def _follow(self, number: int, head: bytes, place: JournalPosition) -> None:
        self.number, self.head, self.place = number, head, place
        self._missing.discard(head)


async def read_seals(db: Database, tables: AuditTables) -> AsyncIterator[Record]:
    """Yields the seals, each with its event if that is there."""
    number = 0
    while rows := await db.rows(tables.list_seals, number=number, limit=_PAGE):
        for row in rows:
            yield row
        number = rows[-1]["number"]


def load_audit_tables(service: str) -> AuditTables:
    """Returns the audit's tables of a service, by its short name."""
    tables: AuditTables = import_module(f"services.{service}.models").AUDIT
    return tables
