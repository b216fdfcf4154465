"""Delivery of outbox rows by relays, one for each destination: at least once, and in order for each key.

A relay claims rows: it sets their due time to the end of a lease and commits. It then delivers them outside of any
transaction, and marks them as delivered. The end of the lease identifies the claim, so a relay whose lease has expired
marks nothing.
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
    ColumnElement,
    DateTime,
    Integer,
    Interval,
    Label,
    Table,
    and_,
    any_,
    bindparam,
    func,
    not_,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.background import BackgroundTask
from services.common.errors import DependencyUnavailable
from services.common.messaging.topic import KnownTopics
from services.common.postgres.database import Database
from services.common.postgres.lookups import apply_last, is_found
from services.common.postgres.paging import Row, constant
from services.common.postgres.statement import Statement

EVENT_COLUMNS = ("event_id", "key", "type", "payload", "traceparent")

_LEASE = timedelta(seconds=10)
"""How long a relay may take to deliver a batch. The claim of a relay that crashed expires after this time."""
_IDLE_SECONDS = 1.0
_REPORT_SECONDS = 30.0
_LATE_SECONDS = 10.0
_MAX_WAIT_SECONDS = 5
_SEARCH_PAUSE = 20
"""The pause after a search for the floor, as a multiple of its duration."""

_log = logging.getLogger(__name__)
_meter = metrics.get_meter("pulsetrack")
_waiting = _meter.create_gauge(
    "pulsetrack.outbox.waiting", unit="{event}", description="Undelivered events, by destination."
)
_age = _meter.create_gauge(
    "pulsetrack.outbox.age", unit="s", description="The age of the oldest undelivered event, by destination."
)


class Destination(Protocol):
    """A destination of a relay."""

    name: str
    batch: int
    """The size of a batch, which must be delivered well within a lease."""

    async def find_incarnation(self) -> str | None:
        """Returns the id of the current incarnation, or None if the destination never loses delivered events.

        Raises DependencyUnavailable.
        """

    async def deliver(self, rows: Sequence[Record]) -> Sequence[BaseException | None]:
        """Delivers rows with distinct keys, and returns an error or None for each.

        Raises DependencyUnavailable if the destination is unavailable.
        """


class Deliveries:
    """The statements of relays on an outbox table."""

    def __init__(self, table: Table) -> None:
        row = table.c
        of_destination = row.destination == bindparam("destination")
        claimed = (
            row.id == any_(bindparam("ids", type_=ARRAY(BigInteger))),
            row.due_time == bindparam("lease_end", type_=DateTime(timezone=True)),
        )
        self.claim = _build_claim(table)
        waiting = select(func.min(row.id)).where(of_destination, row.delivered_time.is_(None))
        newest = select(func.max(row.id))
        self.find_floor = Statement(
            select(func.coalesce(waiting.scalar_subquery(), newest.scalar_subquery(), 0).label("floor"))
        )
        self.mark_delivered = Statement(
            update(table).where(*claimed).values(delivered_time=func.clock_timestamp()).returning(_has_successor(table))
        )
        self.release = Statement(update(table).where(*claimed).values(due_time=func.now()))
        wait = func.make_interval(0, 0, 0, 0, 0, 0, func.least(0.2 * func.power(2, row.attempts), _MAX_WAIT_SECONDS))
        later = {"attempts": row.attempts + 1, "due_time": func.clock_timestamp() + wait}
        self.postpone = Statement(update(table).where(*claimed).values(later))
        # Includes claimed rows: their relay loses its claim, and cannot mark what only the old incarnation received.
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


def _build_claim(table: Table) -> Statement:
    """Returns the statement that claims the oldest due rows, at most one for each key: its first undelivered row."""
    row, earlier = table.alias("due").c, table.alias("earlier").c
    due = (
        select(row.id)
        .where(
            row.destination == bindparam("destination"),
            row.id >= bindparam("floor", type_=BigInteger),
            row.delivered_time.is_(None),
            # A due time beyond a lease was set before the clock of the database was turned back.
            or_(row.due_time <= func.now(), row.due_time > func.now() + bindparam("lease", type_=Interval)),
            not_(_is_found_waiting(row, earlier, earlier.id < row.id)),
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
    return _is_found_waiting(row, later, later.id > row.id).label("has_successor")


def _is_found_waiting(row: Row, other: Row, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Returns the condition that another row of a row's key and destination waits.

    With statistics of a time when few rows waited, Postgres would read all waiting rows for each row.
    """
    is_waiting = and_(other.destination == row.destination, condition, other.delivered_time.is_(None))
    return is_found(select(constant(1)).where(other.key == row.key, apply_last(is_waiting)))


class Relay:
    """Delivers the outbox rows of one destination, oldest first.

    Several processes can relay to one destination. A commit wakes the relay of the same process. Each relay also polls
    once a second for the commits of other processes.

    Claims begin at a floor, below which no row waits. They would otherwise read the index entries of all rows that were
    delivered since the oldest transaction of the server began, which vacuum cannot remove.
    """

    def __init__(self, deliveries: Deliveries, db: Database, known: KnownTopics, destination: Destination) -> None:
        self._deliveries = deliveries
        self._db = db
        self._known = known
        self._destination = destination
        self._incarnation_checked = self._reported = self._floor_search = float("-inf")
        self.floor = self._next_floor = 0
        self._task = BackgroundTask(
            self._run_round, activity=f"delivering to {destination.name}", interval=_IDLE_SECONDS
        )

    async def __aenter__(self) -> Self:
        self._task.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._task.stop()

    def wake(self) -> None:
        """Wakes the relay."""
        self._task.wake()

    async def measure(self) -> None:
        """Sets the gauges of the undelivered events of all processes. Raises DependencyUnavailable."""
        waiting, age = await self._measure_backlog()
        destination = {"pulsetrack.outbox.destination": self._destination.name}
        _waiting.set(waiting, destination)
        _age.set(age, destination)

    async def _measure_backlog(self) -> tuple[int, float]:
        """Returns the number of undelivered events, and the age of the oldest in seconds."""
        [row] = await self._db.rows(self._deliveries.backlog, destination=self._destination.name)
        return row["waiting"], float(row["age"])

    async def _report(self) -> None:
        """Logs late deliveries. On AWS, a metric filter reads the field outbox_age."""
        waiting, age = await self._measure_backlog()
        if age >= _LATE_SECONDS:
            late = {"destination": self._destination.name, "outbox_waiting": waiting, "outbox_age": round(age, 1)}
            _log.warning("deliveries are late", extra=late)

    async def _run_round(self) -> bool:
        """Delivers one batch. Returns True if more rows may be due."""
        await self._maintain()
        rows = await self._db.rows(
            self._deliveries.claim,
            destination=self._destination.name,
            floor=self.floor,
            limit=self._destination.batch,
            lease=_LEASE,
        )
        return bool(rows) and await self._deliver(rows)

    async def _maintain(self) -> None:
        """Reports late deliveries, and detects a new incarnation of the destination, when due."""
        if time.monotonic() - self._reported >= _REPORT_SECONDS:
            await self._report()
            self._reported = time.monotonic()
        if time.monotonic() - self._incarnation_checked >= _IDLE_SECONDS:
            await self._follow_destination()
            self._incarnation_checked = time.monotonic()
        if time.monotonic() >= self._floor_search:
            await self._move_floor()

    async def _move_floor(self) -> None:
        """Moves the floor to the first waiting row that the search before this one found.

        Transactions do not commit in the order of their ids. A row that is committed below the floor more than a second
        after a later id was waits for the next search.
        """
        begin = time.monotonic()
        [row] = await self._db.rows(self._deliveries.find_floor, destination=self._destination.name)
        self.floor, self._next_floor = min(self._next_floor, row["floor"]), row["floor"]
        end = time.monotonic()
        self._floor_search = end + max(_IDLE_SECONDS, _SEARCH_PAUSE * (end - begin))

    async def _deliver(self, rows: Sequence[Record]) -> bool:
        """Delivers claimed rows. Returns True if more may be due: the batch was full, or a row has a successor."""
        lease_end = rows[0]["due_time"]
        try:
            outcomes = list(zip(rows, await self._destination.deliver(rows), strict=True))
        except BaseException:  # even on cancellation: another relay can then claim the rows at once
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
            _log.error("cannot deliver event %s to %s: %r", row["event_id"], self._destination.name, error)
        return len(rows) == self._destination.batch or any(row["has_successor"] for row in marked)

    async def _follow_destination(self) -> None:
        """Makes all retained rows due again if the destination has a new incarnation."""
        name, incarnation = self._destination.name, await self._destination.find_incarnation()
        if incarnation is None or incarnation == (known := await self._known.find_incarnation(self._db, name)):
            return
        async with self._db.begin() as tx:
            again = await tx.rows(self._deliveries.deliver_again, destination=name)
            await self._known.store_incarnation(tx, name, incarnation)
        if known and again:
            _log.warning("%s has a new incarnation: delivering %d events again", name, len(again))
