"""The transactional outbox: what a change sends elsewhere is written with the change, and a relay delivers it.

Delivery is at least once. A row that cannot be delivered waits without holding up the others, so that rows may overtake
each other: whoever receives them goes by their sequence.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Protocol, Self
from uuid import UUID

from asyncpg import Record
from opentelemetry import metrics
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    delete,
    func,
    insert,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.common import telemetry
from services.common.db import Database, Statement, Transaction
from services.common.kafka import KnownTopics
from services.common.retry import persistently

RETENTION = timedelta(days=7)
"""How long a delivered row is kept, to be delivered again to a broker that lost it."""

_BATCH = 100
_IDLE_SECONDS = 1.0
_PRUNE_SECONDS = 600.0
_REPORT_SECONDS = 30.0
_LATE_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 5
_EVENT = ("event_id", "key", "type", "payload", "traceparent")

_log = logging.getLogger(__name__)
_meter = metrics.get_meter("pulsetrack")
_waiting = _meter.create_gauge(
    "pulsetrack.outbox.waiting", unit="{event}", description="Events that are not delivered yet, by destination."
)
_age = _meter.create_gauge(
    "pulsetrack.outbox.age", unit="s", description="For how long the oldest of them has been waiting."
)


def outbox_table(metadata: MetaData) -> Table:
    """Adds the outbox to a service's tables."""
    table = Table(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("destination", Text, nullable=False),
        Column("event_id", Uuid, nullable=False),
        Column("key", Text, nullable=False),
        Column("type", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("traceparent", Text, nullable=False),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("due_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("delivered_time", DateTime(timezone=True)),
    )
    waiting = table.c.delivered_time.is_(None)
    Index("outbox_waiting", table.c.destination, table.c.id, postgresql_where=waiting)
    Index("outbox_delivered", table.c.delivered_time)
    return table


class Destination(Protocol):
    """Where a relay delivers to."""

    name: str

    async def life(self) -> str | None:
        """Returns what names the present life of a destination that may lose what it was given, None of any other.

        Raises DependencyUnavailable.
        """

    async def deliver(self, rows: Sequence[Record]) -> Sequence[BaseException | None]:
        """Delivers rows and returns for each what went wrong with it, if anything did.

        Raises DependencyUnavailable if nothing can be delivered now.
        """


class Deliveries:
    """What relays ask of an outbox table and write to it."""

    def __init__(self, table: Table) -> None:
        row = table.c
        of_destination = row.destination == bindparam("destination")
        with_ids = row.id == any_(bindparam("ids", type_=ARRAY(BigInteger)))
        self.claim = Statement(
            select(*(row[name] for name in ("id", "create_time", *_EVENT)))
            .where(of_destination, row.delivered_time.is_(None), row.due_time <= func.now())
            .order_by(row.id)
            .limit(bindparam("limit", type_=Integer))
            .with_for_update(skip_locked=True)
        )
        self.delivered = Statement(update(table).where(with_ids).values(delivered_time=func.clock_timestamp()))
        wait = func.make_interval(
            0, 0, 0, 0, 0, 0, func.least(0.2 * func.power(2, row.attempts), _LONGEST_WAIT_SECONDS)
        )
        later = {"attempts": row.attempts + 1, "due_time": func.clock_timestamp() + wait}
        self.postpone = Statement(update(table).where(with_ids).values(later))
        self.wait_for_relays = Statement(
            select(row.id).where(of_destination, row.delivered_time.is_(None)).with_for_update()
        )
        self.deliver_again = Statement(
            update(table)
            .where(of_destination, row.delivered_time.is_not(None))
            .values(delivered_time=null())
            .returning(row.id)
        )
        age = func.extract("epoch", func.clock_timestamp() - func.min(row.create_time))
        self.backlog = Statement(
            select(func.count().label("waiting"), func.coalesce(age, 0).label("age"))
            .select_from(table)
            .where(of_destination, row.delivered_time.is_(None))
        )
        too_old = func.now() - bindparam("retention", type_=Interval)
        self.prune = Statement(delete(table).where(of_destination, row.delivered_time < too_old))


class Outbox:
    """A service's outbox: written to in the transaction of a change, emptied by one relay for each destination."""

    def __init__(self, table: Table) -> None:
        """Takes the table that outbox_table made."""
        self._wakes: list[Callable[[], None]] = []
        self._relays: list[Relay] = []
        self._add = Statement(
            insert(table).from_select(
                ["destination", *_EVENT],
                select(
                    func.unnest(bindparam("destinations", type_=ARRAY(Text))),
                    *(bindparam(name, type_=table.c[name].type) for name in _EVENT),
                ),
            )
        )
        self._deliveries = Deliveries(table)

    async def add(
        self, tx: Transaction, *, destinations: Sequence[str], event_id: UUID, key: str, kind: str, payload: bytes
    ) -> None:
        """Adds a row for each destination, and wakes who waits in this process when the transaction is committed."""
        await tx.run(
            self._add,
            destinations=list(destinations),
            event_id=event_id,
            key=key,
            type=kind,
            payload=payload,
            traceparent=telemetry.traceparent.get(),
        )
        for wake in self._wakes:
            tx.after_commit(wake)

    def wakes(self, wake: Callable[[], None]) -> None:
        """Has something called whenever this process has committed rows."""
        self._wakes.append(wake)

    async def measure(self) -> None:
        """Sets the gauges of what waits. Raises DependencyUnavailable."""
        for relay in self._relays:
            await relay.measure()

    def relay(self, db: Database, known: KnownTopics, destination: Destination) -> "Relay":
        """Returns a relay to a destination, which works while its context is open."""
        relay = Relay(self._deliveries, db, known, destination)
        self.wakes(relay.wake)
        self._relays.append(relay)
        return relay


class Relay:
    """Delivers the outbox rows of one destination, oldest first.

    Several processes may relay to one destination: each takes the rows that no other holds. A relay is woken by changes
    of its own process, and looks once a second for those of others.
    """

    def __init__(self, deliveries: Deliveries, db: Database, known: KnownTopics, destination: Destination) -> None:
        self._deliveries = deliveries
        self._db = db
        self._known = known
        self._destination = destination
        self._woken = asyncio.Event()
        self._life_checked = self._pruned = self._reported = float("-inf")
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def wake(self) -> None:
        """Says that there may be something to deliver."""
        self._woken.set()

    async def measure(self) -> None:
        """Sets the gauges of what waits, here or in other processes. Raises DependencyUnavailable."""
        waiting, age = await self._backlog()
        destination = {"pulsetrack.outbox.destination": self._destination.name}
        _waiting.set(waiting, destination)
        _age.set(age, destination)

    async def _backlog(self) -> tuple[int, float]:
        """Returns how many events wait, and for how many seconds the oldest of them does."""
        [row] = await self._db.rows(self._deliveries.backlog, destination=self._destination.name)
        return row["waiting"], float(row["age"])

    async def _report(self) -> None:
        """Logs what has been waiting for long. On AWS the field outbox_age is a metric, by a filter of the log."""
        waiting, age = await self._backlog()
        if age >= _LATE_SECONDS:
            late = {"destination": self._destination.name, "outbox_waiting": waiting, "outbox_age": round(age, 1)}
            _log.warning("deliveries are late", extra=late)

    async def _run(self) -> None:
        what = f"delivering to {self._destination.name}"
        while True:
            self._woken.clear()
            try:
                full = await persistently(self._round, what=what)
            except Exception:  # noqa: BLE001 - a fault of ours must not end the relay
                _log.exception("%s failed", what)
                full = False
            if not full:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), _IDLE_SECONDS)

    async def _round(self) -> bool:
        """Delivers one batch. Returns True if it was full, so that there may be more."""
        if time.monotonic() - self._reported >= _REPORT_SECONDS:
            await self._report()
            self._reported = time.monotonic()
        if time.monotonic() - self._life_checked >= _IDLE_SECONDS:
            await self._follow_destination()
            self._life_checked = time.monotonic()
        if time.monotonic() - self._pruned >= _PRUNE_SECONDS:
            await self._db.row(self._deliveries.prune, destination=self._destination.name, retention=RETENTION)
            self._pruned = time.monotonic()
        async with self._db.begin() as tx:
            rows = await tx.rows(self._deliveries.claim, destination=self._destination.name, limit=_BATCH)
            if not rows:
                return False
            outcomes = list(zip(rows, await self._destination.deliver(rows), strict=True))
            await tx.run(self._deliveries.delivered, ids=[row["id"] for row, error in outcomes if error is None])
            if failed := [(row, error) for row, error in outcomes if error is not None]:
                await tx.run(self._deliveries.postpone, ids=[row["id"] for row, _ in failed])
        for row, error in failed:
            _log.error("event %s not delivered to %s: %r", row["event_id"], self._destination.name, error)
        return len(rows) == _BATCH

    async def _follow_destination(self) -> None:
        """Has all retained rows delivered again if the destination began a new life, without memory of them."""
        name, life = self._destination.name, await self._destination.life()
        if life is None or life == await self._known.id_of(self._db, name):
            return
        async with self._db.begin() as tx:
            # Another relay may be about to mark rows that only the old life had: its locks are waited for.
            await tx.rows(self._deliveries.wait_for_relays, destination=name)
            again = await tx.rows(self._deliveries.deliver_again, destination=name)
            await self._known.remember(tx, name, life)
        if again:
            _log.warning("%s began a new life: delivering %d events again", name, len(again))
