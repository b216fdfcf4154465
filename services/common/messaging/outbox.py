"""The transactional outbox: events are written in the transaction of a change, and relays deliver them afterwards.

Delivery is at least once, and in order for each key and destination. A row that cannot be delivered delays the later
rows of its key only.
"""

from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    bindparam,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.context import current_traceparent
from services.common.messaging.relay import EVENT_COLUMNS, Deliveries, Destination, Relay
from services.common.messaging.topic import KnownTopics
from services.common.postgres.database import Database, Transaction
from services.common.postgres.statement import Statement


def outbox_table(metadata: MetaData) -> Table:
    """Adds the table of Outbox to a service's tables."""
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
    Index("outbox_waiting_by_key", table.c.destination, table.c.key, table.c.id, postgresql_where=waiting)
    Index("outbox_delivered", table.c.delivered_time)
    Index("outbox_by_key", table.c.key)
    return table


class Outbox:
    """The outbox of a service, with one relay for each destination."""

    def __init__(self, table: Table) -> None:
        """Takes a table that outbox_table created."""
        self._callbacks: list[Callable[[], None]] = []
        self._relays: list[Relay] = []
        self._add = Statement(
            insert(table).from_select(
                ["destination", *EVENT_COLUMNS],
                select(
                    func.unnest(bindparam("destinations", type_=ARRAY(Text))),
                    *(bindparam(name, type_=table.c[name].type) for name in EVENT_COLUMNS),
                ),
            )
        )
        self._deliveries = Deliveries(table)

    def add(
        self, tx: Transaction, *, destinations: Sequence[str], event_id: UUID, key: str, kind: str, payload: bytes
    ) -> None:
        """Adds a row for each destination to a transaction. The callbacks of `on_commit` run after the commit."""
        tx.add(
            self._add,
            destinations=list(destinations),
            event_id=event_id,
            key=key,
            type=kind,
            payload=payload,
            traceparent=current_traceparent.get(),
        )
        for callback in self._callbacks:
            tx.after_commit(callback)

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Registers a callback that runs after each commit of rows by this process."""
        self._callbacks.append(callback)

    async def measure(self) -> None:
        """Sets the gauges of the undelivered events. Raises DependencyUnavailable."""
        for relay in self._relays:
            await relay.measure()

    def relay(self, db: Database, known: KnownTopics, destination: Destination) -> Relay:
        """Creates the relay to a destination, which runs while its context is open."""
        relay = Relay(self._deliveries, db, known, destination)
        self.on_commit(relay.wake)
        self._relays.append(relay)
        return relay
