"""The tables of the patient service, and the statements that it runs."""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    bindparam,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.db import Statement
from services.common.idempotency import Answers, answers_table
from services.common.journal import Journal, journal_columns
from services.common.kafka import topics_table
from services.common.migrate import APPEND_ONLY
from services.common.outbox import outbox_table
from services.common.paging import Listing

metadata = MetaData()

patients = Table(
    "patients",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text(collation="C"), nullable=False),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False, unique=True),
    Column("address", Text, nullable=False),
    Column("date_of_birth", Date, nullable=False),
    Column("registered_date", Date, nullable=False),
    Column("phone", Text, nullable=False),
    Column("sex", SmallInteger, nullable=False),
    Column("medical_record_number", Text, unique=True),
    Column("search_key", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    Column("delete_time", DateTime(timezone=True)),
    Column("sequence", BigInteger, nullable=False),
)
"""Patients, deleted ones too. `sequence` counts the changes of one from 1; `search_key` is what a query looks in."""

for column in (patients.c.name, patients.c.create_time, patients.c.update_time, patients.c.date_of_birth):
    Index(f"patients_by_{column.name}", column, patients.c.id)
Index("patients_search", patients.c.search_key, postgresql_using="gin", postgresql_ops={"search_key": "gin_trgm_ops"})

revisions = Table(
    "revisions",
    metadata,
    Column("patient_id", Uuid, primary_key=True),
    Column("revision", BigInteger, primary_key=True),
    Column("actor_id", Text, nullable=False),
    Column("occur_time", DateTime(timezone=True), nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("patient", LargeBinary, nullable=False),
    *journal_columns(),
    comment=APPEND_ONLY,
)
"""Each state that a patient had: `revision` is its sequence then, `patient` its message. Every patient has one."""

REVISIONS_JOURNAL = Journal(revisions)

access_events = Table(
    "access_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("patient_ids", ARRAY(Uuid), nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("occur_time", DateTime(timezone=True), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("remote_address", Text, nullable=False),
    *journal_columns(),
    comment=APPEND_ONLY,
)
"""Calls, each with the patients that it read or wrote, or asked for."""

ACCESS_EVENTS_JOURNAL = Journal(access_events)
ACCESS_COLUMNS = (
    "id",
    "patient_ids",
    "actor_id",
    "method",
    "outcome",
    "occur_time",
    "request_id",
    "remote_address",
)
"""What is known of a call. The journal's columns are the database's."""

Index("access_events_by_patient", access_events.c.patient_ids, postgresql_using="gin")

access_seals = Table(
    "access_seals",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Uuid, nullable=False, unique=True),
    Column("transaction", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    comment=APPEND_ONLY,
)
"""The chain over the access events, numbered from 1 without gaps, each seal with the place of its event."""

outbox_rows = outbox_table(metadata)
known_topics = topics_table(metadata)

ANSWERS = Answers(answers_table(metadata))

_values = {column.name: bindparam(column.name, type_=column.type) for column in patients.c}
_in_use = patients.c.delete_time.is_(None)
_is_it = patients.c.id == bindparam("id", type_=Uuid)

INSERT_PATIENT = Statement(insert(patients).values(_values))
GET_PATIENT = Statement(select(patients).where(_is_it, _in_use))
GET_PATIENT_FOR_UPDATE = Statement(select(patients).where(_is_it, _in_use).with_for_update())
GET_ANY_PATIENT_FOR_UPDATE = Statement(select(patients).where(_is_it).with_for_update())
UPDATE_PATIENT = Statement(
    update(patients).where(_is_it).values({name: value for name, value in _values.items() if name != "id"})
)

IS_KNOWN_PATIENT = Statement(select(literal(1)).where(_is_it))

INSERT_REVISION = Statement(
    insert(revisions).values(
        {
            name: bindparam(name, type_=revisions.c[name].type)
            for name in ("patient_id", "revision", "actor_id", "occur_time", "type", "patient")
        }
    )
)
LIST_REVISIONS = Listing(
    select(revisions).where(revisions.c.patient_id == bindparam("id", type_=Uuid)), revisions.c.revision
)

INSERT_ACCESS_EVENT = Statement(
    insert(access_events).values({name: bindparam(name, type_=access_events.c[name].type) for name in ACCESS_COLUMNS})
)
LIST_ACCESS_EVENTS = Listing(
    select(access_events).where(access_events.c.patient_ids.contains(bindparam("patient_ids", type_=ARRAY(Uuid)))),
    access_events.c.occur_time,  # in an order that no index has, so that the one by patient is used
    access_events.c.id,
)

_event, _seal = access_events.c, access_seals.c
_place = tuple_(bindparam("transaction", type_=BigInteger), bindparam("position", type_=BigInteger))
_sealed = tuple_(_event.transaction, _event.position) <= _place

TRY_TO_LOCK_SEALS = Statement(select(literal(1)).where(text("pg_try_advisory_xact_lock(7081302)")))  # any number
LAST_SEAL = Statement(select(access_seals).order_by(_seal.number.desc()).limit(1))
INSERT_SEALS = Statement(
    insert(access_seals).from_select(
        [column.name for column in _seal],
        select(*(func.unnest(bindparam(column.name, type_=ARRAY(column.type))) for column in _seal)),
    )
)
LIST_SEALS = Statement(
    select(
        _seal.number,
        _seal.event_id,
        _seal.transaction.label("seal_transaction"),
        _seal.position.label("seal_position"),
        _seal.hash,
        access_events,
    )
    .outerjoin_from(access_seals, access_events, _seal.event_id == _event.id)
    .where(_seal.number > bindparam("number", type_=BigInteger))
    .order_by(_seal.number)
    .limit(bindparam("limit", type_=Integer))
)
FIRST_UNSEALED_EVENT = Statement(
    select(_event.id)
    .outerjoin_from(access_events, access_seals, _seal.event_id == _event.id)
    .where(_sealed, _seal.number.is_(None))
    .order_by(_event.transaction, _event.position)
    .limit(1)
)
"""Up to a place: behind the last seal's there may be some that wait."""
COUNT_EVENTS_BEHIND = Statement(select(func.count().label("count")).select_from(access_events).where(~_sealed))
