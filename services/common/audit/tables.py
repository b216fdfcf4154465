"""The tables of a service's audit log, and their statements and stored formats."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
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
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from services.common.postgres.journal import Journal, journal_columns
from services.common.postgres.statement import Statement

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
"""The columns that a service writes. The database fills in the journal's columns."""

SEALED_COLUMNS = (*EVENT_COLUMNS, "transaction", "position")

_MAX_LIST = 256
"""A list of more subjects is divided into groups."""

_ONE: ColumnElement[int] = literal_column("1", Integer)
"""A constant rather than a parameter, because the conditions of indexes contain it."""

_CUT_MASK = 63  # one id in 64 ends a group
_GROUP_VERSION = 8


class AuditTables:
    """The tables of the audit log in a service's metadata, as created by its migrations.

    - `events` has one row per call, with its subject or the groups of its subjects: the patients or users whose data it
      read, changed or requested. Previous versions stored up to 32 subjects without groups. The column `method` also
      holds details (see `join_call`).
    - `seals` is the chain over the events: numbered from 1 without gaps, each with the journal position of its event.
    - `groups` has the subjects of calls with several. Events refer to a group by its id instead of its subjects.
    """

    def __init__(self, metadata: MetaData, *, subject_ids: str = "subject_ids") -> None:
        """Takes the name of the column that holds the ids of the subjects."""
        self.events = _define_events(metadata, subject_ids)
        self.seals = _define_seals(metadata)
        self.groups = _define_groups(metadata)
        self.columns = tuple(self.events.c[name].name for name in EVENT_COLUMNS)
        """The database names of EVENT_COLUMNS."""
        self.journal = Journal(self.events)

        self.insert_event = _insert_event(self.events)
        self.insert_group = _insert_group(self.groups)
        self.get_groups = _get_groups(self.groups)
        self.list_groups = _list_groups(self.groups)
        self.last_seal = Statement(select(self.seals).order_by(self.seals.c.number.desc()).limit(1))
        self.insert_seals = _insert_seals(self.seals)
        self.list_seals = _list_seals(self.seals, self.events)
        self.first_unsealed_event = _first_unsealed_event(self.seals, self.events)
        """The first event up to a position that has no seal. Events after the last seal may still be sealed."""
        self.count_events_behind = _count_events_behind(self.events)
        self.age_of_events_behind = _age_of_events_behind(self.events)

    def subject_ids(self, row: Record) -> Sequence[UUID]:
        """Returns the ids of an event's subjects and groups."""
        ids: Sequence[UUID] = row[self.events.c.subject_ids.name]
        return ids

    def sealed_values(self, row: Record) -> Sequence[object]:
        """Returns the values of an event that its seal covers."""
        return [row[self.events.c[name].name] for name in SEALED_COLUMNS]


def join_call(method: str, details: str) -> str:
    """Returns the value of the column `method`: the method, and after a space details, such as the query of a list.

    The details have no column of their own. During an upgrade, the previous version may seal the events of this one,
    and it covers only its own columns.
    """
    return f"{method} {details}" if details else method


def split_call(call: str) -> tuple[str, str]:
    """Returns the method and the details, which may be empty, from a value of the column `method`."""
    method, _, details = call.partition(" ")
    return method, details


def build_groups(subject_ids: Iterable[UUID]) -> Mapping[UUID, bytes]:
    """Divides subjects into groups. Returns the joined ids of each group by the id of the group.

    Most lists are one group, in the order of the list. The ids of longer lists are sorted, and certain ids end a group.
    Lists that share most subjects therefore share most groups, and repeated reads of a list that changes little write
    little.
    """
    unique = dict.fromkeys(each.bytes for each in subject_ids)
    if len(unique) <= _MAX_LIST:
        joined = b"".join(unique)
        return {compute_group_id(joined): joined}
    groups: dict[UUID, bytes] = {}
    group: list[bytes] = []
    for subject_id in sorted(unique):  # bytes compare faster than UUIDs
        group.append(subject_id)
        if subject_id[-1] & _CUT_MASK == 0:
            joined, group = b"".join(group), []
            groups[compute_group_id(joined)] = joined
    if group:
        joined = b"".join(group)
        groups[compute_group_id(joined)] = joined
    return groups


def join_ids(subject_ids: Iterable[UUID]) -> bytes:
    """Returns the joined ids of a group."""
    return b"".join(each.bytes for each in subject_ids)


def split_ids(joined: bytes) -> Sequence[UUID]:
    """Returns the ids that were joined by `join_ids`."""
    return [UUID(bytes=joined[start : start + 16]) for start in range(0, len(joined), 16)]


def compute_group_id(joined: bytes) -> UUID:
    """Returns the id of the group with these joined ids: a UUID of version 8 from their hash.

    Seals cover the id of a group, and therefore its subjects.
    """
    digest = bytearray(hashlib.sha256(joined).digest()[:16])
    digest[6] = _GROUP_VERSION << 4 | digest[6] & 0x0F
    digest[8] = 0x80 | digest[8] & 0x3F
    return UUID(bytes=bytes(digest))


def is_group_id(subject_id: UUID) -> bool:
    """Returns whether an id identifies a group. Ids of subjects have other UUID versions."""
    return subject_id.version == _GROUP_VERSION


def first_id(events: Table) -> ColumnElement[UUID]:
    """Returns the first subject or group of an event."""
    return events.c.subject_ids[_ONE]


def has_one_id(events: Table) -> ColumnElement[bool]:
    """Returns the condition of the events with at most one subject or group, which an index returns in order of time.

    Postgres has no statistics about it, and expects many rows for an inequality, but few for an equality.
    """
    return func.cardinality(events.c.subject_ids) <= _ONE


def has_several_ids(events: Table) -> ColumnElement[bool]:
    """Returns the condition of the events with several subjects or groups, which another index finds by any id."""
    return func.cardinality(events.c.subject_ids) > _ONE


def _define_events(metadata: MetaData, subject_ids: str) -> Table:
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
        comment="append-only",
    )
    ids, order = table.c.subject_ids, (first_id(table), table.c.occur_time, table.c.id)
    Index("access_events_of_subject", *order, postgresql_where=has_one_id(table))
    Index("access_events_of_subjects", ids, postgresql_using="gin", postgresql_where=has_several_ids(table))
    Index("access_events_by_actor", table.c.actor_id, table.c.id)
    return table


def _define_groups(metadata: MetaData) -> Table:
    table = Table(
        "access_groups",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("subject_ids", ARRAY(Uuid), nullable=False),
        comment="append-only",
    )
    Index("access_groups_by_subject", table.c.subject_ids, postgresql_using="gin")
    return table


def _define_seals(metadata: MetaData) -> Table:
    return Table(
        "access_seals",
        metadata,
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("event_id", Uuid, nullable=False, unique=True),
        Column("transaction", BigInteger, nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("hash", LargeBinary, nullable=False),
        comment="append-only",
    )


def _insert_event(events: Table) -> Statement:
    values = {events.c[name]: bindparam(name, type_=events.c[name].type) for name in EVENT_COLUMNS}
    return Statement(insert(events).values(values))


def _insert_group(groups: Table) -> Statement:
    values: dict[str, Any] = {name: bindparam(name) for name in ("id", "subject_ids")}
    return Statement(upsert(groups).values(values).on_conflict_do_nothing())


def _get_groups(groups: Table) -> Statement:
    ids = bindparam("ids", type_=ARRAY(Uuid))
    return Statement(select(groups).where(groups.c.id == any_(ids)).order_by(groups.c.id))


def _list_groups(groups: Table) -> Statement:
    after, limit = bindparam("after", type_=Uuid), bindparam("limit", type_=Integer)
    return Statement(select(groups).where(groups.c.id > after).order_by(groups.c.id).limit(limit))


def _insert_seals(seals: Table) -> Statement:
    columns = [column.name for column in seals.c]
    rows = select(*(func.unnest(bindparam(column.name, type_=ARRAY(column.type))) for column in seals.c))
    return Statement(insert(seals).from_select(columns, rows))


def _list_seals(seals: Table, events: Table) -> Statement:
    seal = seals.c
    return Statement(
        select(
            seal.number,
            seal.event_id,
            seal.transaction.label("seal_transaction"),
            seal.position.label("seal_position"),
            seal.hash,
            events,
        )
        .outerjoin_from(seals, events, seal.event_id == events.c.id)
        .where(seal.number > bindparam("number", type_=BigInteger))
        .order_by(seal.number)
        .limit(bindparam("limit", type_=Integer))
    )


def _first_unsealed_event(seals: Table, events: Table) -> Statement:
    event = events.c
    return Statement(
        select(event.id)
        .outerjoin_from(events, seals, seals.c.event_id == event.id)
        .where(_is_up_to_position(events), seals.c.number.is_(None))
        .order_by(event.transaction, event.position)
        .limit(1)
    )


def _count_events_behind(events: Table) -> Statement:
    return Statement(select(func.count().label("count")).select_from(events).where(~_is_up_to_position(events)))


def _age_of_events_behind(events: Table) -> Statement:
    """Returns the statement for the age in seconds of the oldest event after a position, visible to sealers or not."""
    event = events.c
    age = func.extract("epoch", func.clock_timestamp() - event.occur_time)
    order = event.transaction, event.position
    return Statement(select(age.label("age")).where(~_is_up_to_position(events)).order_by(*order).limit(1))


def _is_up_to_position(events: Table) -> ColumnElement[bool]:
    position = tuple_(bindparam("transaction", type_=BigInteger), bindparam("position", type_=BigInteger))
    return tuple_(events.c.transaction, events.c.position) <= position
