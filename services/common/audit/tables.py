"""The tables of a service's audit, and the statements that it runs."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from services.common.postgres.database import Statement
from services.common.postgres.journal import Journal, journal_columns
from services.common.postgres.migrate import APPEND_ONLY

EVENT_COLUMNS = (
    "id",
    "subject_ids",
    "actor_id",
    "method",
    "outcome",
    "occur_time",
    "request_id",
    "remote_address",
)
"""What is recorded of a call. The journal's columns are filled in by the database."""

SEALED_COLUMNS = (*EVENT_COLUMNS, "transaction", "position")


class AuditTables:
    """The audit's tables in a service's metadata, as migrations have made them.

    `events` has one row for each call, with the people that it read, changed or asked for. Its column `method` also
    holds the query of a list (services.common.audit.queries). `seals` is the chain over the events, numbered from 1
    without gaps, each seal with the place of its event. `groups` has the people of long lists, to whom events refer by
    the group's id in place of theirs.
    """

    def __init__(self, metadata: MetaData, *, subject_ids: str = "subject_ids") -> None:
        """Takes the name of the column that holds the ids of the people."""
        self.events = _events_table(metadata, subject_ids)
        self.seals = _seals_table(metadata)
        self.groups = _groups_table(metadata)
        self.columns = tuple(self.events.c[name].name for name in EVENT_COLUMNS)
        """The names in the database of EVENT_COLUMNS."""
        self.journal = Journal(self.events)
        event, seal = self.events.c, self.seals.c
        self.insert_event = Statement(
            insert(self.events).values({event[name]: bindparam(name, type_=event[name].type) for name in EVENT_COLUMNS})
        )
        group = self.groups.c
        new_group = upsert(self.groups).values({name: bindparam(name) for name in ("id", "subject_ids")})
        self.insert_group = Statement(new_group.on_conflict_do_nothing())
        self.get_groups = Statement(
            select(self.groups).where(group.id == any_(bindparam("ids", type_=ARRAY(Uuid)))).order_by(group.id)
        )
        self.list_groups = Statement(
            select(self.groups)
            .where(group.id > bindparam("after", type_=Uuid))
            .order_by(group.id)
            .limit(bindparam("limit", type_=Integer))
        )
        self.last_seal = Statement(select(self.seals).order_by(seal.number.desc()).limit(1))
        self.insert_seals = Statement(
            insert(self.seals).from_select(
                [column.name for column in seal],
                select(*(func.unnest(bindparam(column.name, type_=ARRAY(column.type))) for column in seal)),
            )
        )
        place = tuple_(bindparam("transaction", type_=BigInteger), bindparam("position", type_=BigInteger))
        sealed = tuple_(event.transaction, event.position) <= place
        self.list_seals = Statement(
            select(
                seal.number,
                seal.event_id,
                seal.transaction.label("seal_transaction"),
                seal.position.label("seal_position"),
                seal.hash,
                self.events,
            )
            .outerjoin_from(self.seals, self.events, seal.event_id == event.id)
            .where(seal.number > bindparam("number", type_=BigInteger))
            .order_by(seal.number)
            .limit(bindparam("limit", type_=Integer))
        )
        self.first_unsealed_event = Statement(
            select(event.id)
            .outerjoin_from(self.events, self.seals, seal.event_id == event.id)
            .where(sealed, seal.number.is_(None))
            .order_by(event.transaction, event.position)
            .limit(1)
        )
        """Up to a place: events behind the last seal's may wait to be sealed."""
        self.count_events_behind = Statement(
            select(func.count().label("count")).select_from(self.events).where(~sealed)
        )

    def subject_ids(self, row: Record) -> Sequence[UUID]:
        """Returns the people and groups that an event's row names."""
        ids: Sequence[UUID] = row[self.events.c.subject_ids.name]
        return ids

    def sealed_values(self, row: Record) -> Sequence[object]:
        """Returns what a seal covers of an event."""
        return [row[self.events.c[name].name] for name in SEALED_COLUMNS]


TRY_TO_LOCK_SEALS = Statement(select(literal(1)).where(text("pg_try_advisory_xact_lock(7081302)")))  # any number


def _events_table(metadata: MetaData, subject_ids: str) -> Table:
    table = Table(
        "access_events",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column(subject_ids, ARRAY(Uuid), nullable=False, key="subject_ids"),
        Column("actor_id", Text, nullable=False),
        Column("method", Text, nullable=False),
        Column("outcome", Text, nullable=False),
        Column("occur_time", DateTime(timezone=True), nullable=False),
        Column("request_id", Text, nullable=False),
        Column("remote_address", Text, nullable=False),
        *journal_columns(),
        comment=APPEND_ONLY,
    )
    Index(f"access_events_by_{subject_ids.removesuffix('_ids')}", table.c.subject_ids, postgresql_using="gin")
    Index("access_events_by_actor", table.c.actor_id, table.c.id)
    return table


def _groups_table(metadata: MetaData) -> Table:
    table = Table(
        "access_groups",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("subject_ids", ARRAY(Uuid), nullable=False),
        comment=APPEND_ONLY,
    )
    Index("access_groups_by_subject", table.c.subject_ids, postgresql_using="gin")
    return table


def _seals_table(metadata: MetaData) -> Table:
    return Table(
        "access_seals",
        metadata,
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("event_id", Uuid, nullable=False, unique=True),
        Column("transaction", BigInteger, nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("hash", LargeBinary, nullable=False),
        comment=APPEND_ONLY,
    )


def join_call(method: str, query: str) -> str:
    """Returns the text that stands for a call in the events' table."""
    return f"{method} {query}" if query else method


def split_call(call: str) -> tuple[str, str]:
    """Returns the method and the query that a text of the events' table stands for; the query may be empty."""
    method, _, query = call.partition(" ")
    return method, query


MAX_UNGROUPED_SUBJECTS = 32
"""How many people an event names one by one at most."""

_CUT_MASK = 63  # one id in 64 ends a group
_VERSION = 8


def build_groups(subject_ids: Iterable[UUID]) -> Mapping[UUID, bytes]:
    """Returns the groups that people fall into, each by its id, with the ids of its people joined."""
    groups: dict[UUID, bytes] = {}
    group: list[bytes] = []
    for subject_id in sorted({each.bytes for each in subject_ids}):  # bytes compare faster than UUIDs
        group.append(subject_id)
        if subject_id[-1] & _CUT_MASK == 0:
            joined, group = b"".join(group), []
            groups[compute_group_id(joined)] = joined
    if group:
        joined = b"".join(group)
        groups[compute_group_id(joined)] = joined
    return groups


def join(subject_ids: Iterable[UUID]) -> bytes:
    """Returns the ids of a group's people joined."""
    return b"".join(each.bytes for each in subject_ids)


def split(joined: bytes) -> Sequence[UUID]:
    """Returns the ids of a group's people."""
    return [UUID(bytes=joined[start : start + 16]) for start in range(0, len(joined), 16)]


def compute_group_id(joined: bytes) -> UUID:
    """Returns the id of the group of these people, in this order."""
    digest = bytearray(hashlib.sha256(joined).digest()[:16])
    digest[6] = _VERSION << 4 | digest[6] & 0x0F
    digest[8] = 0x80 | digest[8] & 0x3F
    return UUID(bytes=bytes(digest))


def is_group_id(subject_id: UUID) -> bool:
    """Returns whether an id is a group's. People's ids have other versions."""
    return subject_id.version == _VERSION
