"""Relays: each delivers the outbox rows of one destination, at least once, and the rows of one key in their order.

A relay claims rows by moving their due time to the end of a lease, commits, delivers outside of any transaction, and
then marks what was delivered. The end of the lease identifies the claim: a relay that lost its claim marks nothing.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Protocol, Self

from asyncpg import Record
from opentelemetry import metrics
from sqlalchemy import (
    BigInteger,
    DateTime,
    Integer,
    Interval,
    Label,
    Table,
    any_,
    bindparam,
    delete,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.background import BackgroundTask
from services.common.errors import DependencyUnavailable
from services.common.messaging.topic import KnownTopics
from services.common.postgres.database import Database, Statement

RETENTION = timedelta(days=7)
"""How long a delivered row is kept, to be delivered again to a broker that lost it."""

EVENT_COLUMNS = ("event_id", "key", "type", "payload", "traceparent")

_LEASE = timedelta(seconds=10)
"""How long a relay may take for a batch. The rows of a relay that was killed are claimed again after it."""
_IDLE_SECONDS = 1.0
_PRUNE_SECONDS = 600.0
_REPORT_SECONDS = 30.0
_LATE_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 5

_log = logging.getLogger(__name__)
_meter = metrics.get_meter("pulsetrack")
_waiting = _meter.create_gauge(
    "pulsetrack.outbox.waiting", unit="{event}", description="Events that are not delivered yet, by destination."
)
_age = _meter.create_gauge(
    "pulsetrack.outbox.age", unit="s", description="For how long the oldest of them has been waiting."
)


class Destination(Protocol):
    """Where a relay delivers to."""

    name: str
    batch: int
    """How many rows can be delivered at once, well within a lease."""

    async def find_incarnation(self) -> str | None:
        """Returns what names the present life of a destination that may lose what it was given, None of any other.

        Raises DependencyUnavailable.
        """

    async def deliver(self, rows: Sequence[Record]) -> Sequence[BaseException | None]:
        """Delivers rows, no two of one key, and returns for each its error or None.

        Raises DependencyUnavailable if nothing can be delivered now.
        """


class Deliveries:
    """The statements that relays run on an outbox table."""

    def __init__(self, table: Table) -> None:
        row = table.c
        of_destination = row.destination == bindparam("destination")
        claimed = (
            row.id == any_(bindparam("ids", type_=ARRAY(BigInteger))),
            row.due_time == bindparam("lease_end", type_=DateTime(timezone=True)),
        )
        self.claim = _claim(table)
        self.mark_delivered = Statement(
            update(table).where(*claimed).values(delivered_time=func.clock_timestamp()).returning(_has_successor(table))
        )
        self.release = Statement(update(table).where(*claimed).values(due_time=func.now()))
        wait = func.make_interval(
            0, 0, 0, 0, 0, 0, func.least(0.2 * func.power(2, row.attempts), _LONGEST_WAIT_SECONDS)
        )
        later = {"attempts": row.attempts + 1, "due_time": func.clock_timestamp() + wait}
        self.postpone = Statement(update(table).where(*claimed).values(later))
        # Rows that a relay has claimed, too: it loses its claim, and cannot mark what only the old life had.
        self.deliver_again = Statement(
            update(table)
            .where(of_destination)
            .values(delivered_time=null(), due_time=func.clock_timestamp())
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


def _claim(table: Table) -> Statement:
    """Returns the statement that leases the oldest due rows, of each key only the first that is not delivered."""
    row, earlier = table.alias("due").c, table.alias("earlier").c
    predecessor = (
        select(literal(1))
        .where(
            earlier.destination == row.destination,
            earlier.key == row.key,
            earlier.id < row.id,
            earlier.delivered_time.is_(None),
        )
        .limit(1)
    )
    due = (
        select(row.id)
        .where(
            row.destination == bindparam("destination"),
            row.delivered_time.is_(None),
            # No relay sets a due time beyond a lease: a later one was set before the database's clock was turned back.
            or_(row.due_time <= func.now(), row.due_time > func.now() + bindparam("lease", type_=Interval)),
            predecessor.scalar_subquery().is_(None),  # looked up by index for each row, whatever the planner estimates
        )
        .order_by(row.id)
        .limit(bindparam("limit", type_=Integer))
        .with_for_update(skip_locked=True)
    )
    return Statement(
        update(table)
        .where(table.c.id == any_(func.array(due.scalar_subquery())))
        .values(due_time=func.now() + bindparam("lease", type_=Interval))
        .returning(*(table.c[name] for name in ("id", "create_time", "due_time", *EVENT_COLUMNS)))
    )


def _has_successor(table: Table) -> Label[bool]:
    row, later = table.c, table.alias("later").c
    same_key = (later.destination == row.destination, later.key == row.key)
    return exists(literal(1)).where(*same_key, later.id > row.id, later.delivered_time.is_(None)).label("has_successor")


class Relay:
    """Delivers the outbox rows of one destination, oldest first.

    Several processes may relay to one destination: each claims rows that no other has claimed. A relay is woken by
    changes of its own process, and looks once a second for those of others.
    """

    def __init__(self, deliveries: Deliveries, db: Database, known: KnownTopics, destination: Destination) -> None:
        self._deliveries = deliveries
        self._db = db
        self._known = known
        self._destination = destination
        self._incarnation_checked = self._pruned = self._reported = float("-inf")
        self._task = BackgroundTask(self._round, activity=f"delivering to {destination.name}", interval=_IDLE_SECONDS)

    async def __aenter__(self) -> Self:
        self._task.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._task.stop()

    def wake(self) -> None:
        """Wakes the relay: there may be something to deliver."""
        self._task.wake()

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

    async def _round(self) -> bool:
        """Delivers one batch. Returns True if there may be more to deliver now."""
        await self._keep_house()
        rows = await self._db.rows(
            self._deliveries.claim, destination=self._destination.name, limit=self._destination.batch, lease=_LEASE
        )
        return bool(rows) and await self._deliver(rows)

    async def _keep_house(self) -> None:
        """Does what is due now and then: reports, follows the destination's life, removes old rows."""
        if time.monotonic() - self._reported >= _REPORT_SECONDS:
            await self._report()
            self._reported = time.monotonic()
        if time.monotonic() - self._incarnation_checked >= _IDLE_SECONDS:
            await self._follow_destination()
            self._incarnation_checked = time.monotonic()
        if time.monotonic() - self._pruned >= _PRUNE_SECONDS:
            await self._db.row(self._deliveries.prune, destination=self._destination.name, retention=RETENTION)
            self._pruned = time.monotonic()

    async def _deliver(self, rows: Sequence[Record]) -> bool:
        """Delivers claimed rows. Returns True if there may be more, as the batch was full or a row has a successor."""
        lease_end = rows[0]["due_time"]
        try:
            outcomes = list(zip(rows, await self._destination.deliver(rows), strict=True))
        except BaseException:  # a cancellation, too: the next relay need not wait for the end of the lease
            with suppress(DependencyUnavailable):
                await self._db.rows(self._deliveries.release, ids=[row["id"] for row in rows], lease_end=lease_end)
            raise
        delivered = [row["id"] for row, error in outcomes if error is None]
        failed = [(row, error) for row, error in outcomes if error is not None]
        marked = await self._db.rows(self._deliveries.mark_delivered, ids=delivered, lease_end=lease_end)
        if failed:
            ids = [row["id"] for row, _ in failed]
            await self._db.rows(self._deliveries.postpone, ids=ids, lease_end=lease_end)
        for row, error in failed:
            _log.error("event %s not delivered to %s: %r", row["event_id"], self._destination.name, error)
        return len(rows) == self._destination.batch or any(row["has_successor"] for row in marked)

    async def _follow_destination(self) -> None:
        """Has all retained rows delivered again if the destination began a new life, without memory of them."""
        name, incarnation = self._destination.name, await self._destination.find_incarnation()
        if incarnation is None or incarnation == (known := await self._known.find_incarnation(self._db, name)):
            return
        async with self._db.begin() as tx:
            again = await tx.rows(self._deliveries.deliver_again, destination=name)
            await self._known.store_incarnation(tx, name, incarnation)
        if known and again:
            _log.warning("%s has a new incarnation: delivering %d events again", name, len(again))
