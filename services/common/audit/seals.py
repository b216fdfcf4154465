"""Seals: a hash chain over the access events, which reveals any event that is changed, removed or inserted.

Each seal is the SHA-256 hash of the previous seal and one event. Events are sealed after they were written: sealing
them in the same transaction would serialize all writes.
"""

import hashlib
import logging
import time
from collections.abc import AsyncIterator, Collection, Sequence
from importlib import import_module
from typing import Self
from uuid import UUID

import msgspec
from asyncpg import Record
from opentelemetry import metrics
from sqlalchemy import literal, select, text

from services.common.audit.tables import AuditTables, compute_group_id, is_group_id, join_ids
from services.common.background import BackgroundTask
from services.common.postgres.database import Database, Transaction
from services.common.postgres.journal import START, JournalPosition, position_of
from services.common.postgres.statement import Statement

INITIAL_HASH = bytes(hashlib.sha256().digest_size)
"""The hash that precedes the first seal."""

_TRY_TO_LOCK = Statement(select(literal(1)).where(text("pg_try_advisory_xact_lock(7081302)")))  # any number
_BATCH_SIZE = 250
_PAGE_SIZE = 1000
_IDLE_SECONDS = 1.0
_LOG_HEAD_SECONDS = 60.0

_log = logging.getLogger(__name__)
_age = metrics.get_meter("pulsetrack").create_gauge(
    "pulsetrack.audit.age", unit="s", description="The age of the oldest access event that is not sealed."
)


class AuditIntegrityError(Exception):
    """Raised when the audit log or an archive was changed. The message names the first violation."""


def encode_sealed_content(number: int, values: Sequence[object]) -> bytes:
    """Returns the content that a seal covers: its number and the sealed values of its event, as JSON."""
    return msgspec.json.encode([number, *values])


def compute_seal(previous: bytes, content: bytes) -> bytes:
    """Returns the hash that seals content after the previous seal."""
    return hashlib.sha256(previous + content).digest()


class Sealer:
    """Seals access events about a second after they were written. One process of a service does so at a time.

    While the chain grows, its head is logged once a minute. The logged heads reveal whether the end of the chain was
    removed.
    """

    def __init__(self, db: Database, tables: AuditTables) -> None:
        self._db = db
        self._tables = tables
        self._head = (0, INITIAL_HASH)
        self._position = START
        self._last_logged = (time.monotonic(), 0)
        self._task = BackgroundTask(self._run_round, activity="sealing access events", interval=_IDLE_SECONDS)

    async def __aenter__(self) -> Self:
        self._task.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._task.stop()

    async def measure(self) -> None:
        """Sets the gauge of the age of the oldest unsealed event. Raises DependencyUnavailable."""
        last = await self._db.row(self._tables.last_seal)
        position = JournalPosition(last["transaction"], last["position"]) if last else START
        statement = self._tables.age_of_events_behind
        oldest = await self._db.row(statement, transaction=position.transaction, position=position.position)
        _age.set(max(float(oldest["age"]), 0) if oldest else 0)

    async def seal(self) -> bool:
        """Seals a batch of events. Returns True if there may be more."""
        if not await self._tables.journal.read_after(self._db, self._position, limit=1):
            return False  # the usual case, without a transaction
        async with self._db.begin() as tx:
            if await tx.row(_TRY_TO_LOCK) is None:
                return False
            return await self._seal(tx)

    async def _seal(self, tx: Transaction) -> bool:
        last = await tx.row(self._tables.last_seal)
        number, head = (last["number"], last["hash"]) if last else (0, INITIAL_HASH)
        position = JournalPosition(last["transaction"], last["position"]) if last else START
        self._position = position
        events = await self._tables.journal.read_after(tx, position, limit=_BATCH_SIZE)
        hashes = []
        for event in events:
            number += 1
            head = compute_seal(head, encode_sealed_content(number, self._tables.sealed_values(event)))
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
            tx.after_commit(lambda: self._advance(number, head, position_of(events[-1])))
        return len(events) == _BATCH_SIZE

    def _advance(self, number: int, head: bytes, position: JournalPosition) -> None:
        self._head, self._position = (number, head), position

    async def _run_round(self) -> bool:
        is_full = await self.seal()
        self._log_head()
        return is_full

    def _log_head(self) -> None:
        number, head = self._head
        logged_time, logged_number = self._last_logged
        if number > logged_number and time.monotonic() - logged_time >= _LOG_HEAD_SECONDS:
            _log.info("the head of the audit chain is seal %d: %s", number, head.hex())
            self._last_logged = (time.monotonic(), number)


class Chain:
    """Verifies a chain, seal by seal. Its number, head and position are those of the last verified seal."""

    def __init__(self, tables: AuditTables, *expected: bytes) -> None:
        """Takes the hashes of seals that the chain must contain; empty hashes are ignored."""
        self._tables = tables
        self.number = 0
        self.head = INITIAL_HASH
        self.position = JournalPosition(0, 0)
        self._missing = {each for each in expected if each}
        self._groups: set[UUID] = set()

    def may_begin(self, row: Record, ends: Collection[tuple[int, bytes]]) -> bool:
        """Returns whether the chain may begin at a seal: the first that is left, whose event is archived and deleted.

        Takes the numbers and hashes of the last seals of the archives.
        """
        return not self.number and row["id"] is None and (row["number"], row["hash"]) in ends

    def begin(self, row: Record) -> None:
        """Begins at the last seal of an archive."""
        self._follow(row["number"], row["hash"], JournalPosition(row["seal_transaction"], row["seal_position"]))

    def add(self, row: Record) -> bytes:
        """Verifies the next seal and returns the content that it covers. Raises AuditIntegrityError."""
        number, where = self.number + 1, f"seal {row['number']}, event {row['event_id']}"
        if row["number"] != number:
            raise AuditIntegrityError(f"seal {number} is missing; the next is {where}")
        if row["id"] is None:
            raise AuditIntegrityError(f"{where}: the event is missing")
        if (
            JournalPosition(row["seal_transaction"], row["seal_position"]) != position_of(row)
            or position_of(row) <= self.position
        ):
            raise AuditIntegrityError(f"{where}: the event is out of place")
        content = encode_sealed_content(number, self._tables.sealed_values(row))
        if compute_seal(self.head, content) != row["hash"]:
            raise AuditIntegrityError(f"{where}: the event or the seal was changed")
        self._follow(number, row["hash"], position_of(row))
        self._groups.update(filter(is_group_id, self._tables.subject_ids(row)))
        return content

    async def verify_groups(self, db: Database) -> None:
        """Verifies the groups that the events refer to. Raises AuditIntegrityError."""
        after = UUID(int=0)
        while rows := await db.rows(self._tables.list_groups, after=after, limit=_PAGE_SIZE):
            for row in rows:
                after = row["id"]
                if compute_group_id(join_ids(row["subject_ids"])) != after:
                    raise AuditIntegrityError(f"group {after}: its subjects were changed")
                self._groups.discard(after)
        if self._groups:
            raise AuditIntegrityError(f"group {min(self._groups)} is missing, but events refer to it")

    def end(self, unsealed_event: UUID | None) -> None:
        """Verifies that the chain is complete. Takes the first event up to the chain's position that has no seal.

        Raises AuditIntegrityError.
        """
        if unsealed_event:
            raise AuditIntegrityError(f"event {unsealed_event} was inserted among sealed events and has no seal")
        if self._missing:
            hashes = " and ".join(sorted(each.hex() for each in self._missing))
            raise AuditIntegrityError(f"the chain ends at seal {self.number} and does not contain the seal {hashes}")

    def _follow(self, number: int, head: bytes, position: JournalPosition) -> None:
        self.number, self.head, self.position = number, head, position
        self._missing.discard(head)


async def read_seals(db: Database, tables: AuditTables) -> AsyncIterator[Record]:
    """Yields the seals in order, each with its event, whose columns are null if it is missing."""
    number = 0
    while rows := await db.rows(tables.list_seals, number=number, limit=_PAGE_SIZE):
        for row in rows:
            yield row
        number = rows[-1]["number"]


def load_audit_tables(service: str) -> AuditTables:
    """Returns the audit tables of a service, by the service's short name."""
    tables: AuditTables = import_module(f"services.{service}.models").AUDIT
    return tables
