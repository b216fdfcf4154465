"""The tables of analytics, and the statements that it runs."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
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
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from gen.pulsetrack.analytics.v1 import PatientEventType
from services.common.db import Statement
from services.common.kafka import topics_table
from services.common.paging import Listing

metadata = MetaData()

events = Table(
    "events",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("patient_id", Uuid, nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("occur_time", DateTime(timezone=True), nullable=False),
    Column("receive_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("payload", LargeBinary, nullable=False),
)
"""Each event once. The payload is the event as it came, for whatever is to be counted later."""

Index("events_newest", events.c.occur_time.desc(), events.c.event_id.desc())
Index("events_of_patient", events.c.patient_id, events.c.occur_time.desc(), events.c.event_id.desc())

patients = Table(
    "patients",
    metadata,
    Column("patient_id", Uuid, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("deleted", Boolean, nullable=False),
)
"""What the newest event, by its sequence, says of each patient."""

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", JSONB, nullable=False),
    Column("reason", Text, nullable=False),
    Column("receive_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""Messages that are no events, or none that can be stored, as they came."""

known_topics = topics_table(metadata)

_EVENT = ("event_id", "patient_id", "type", "sequence", "actor_id", "occur_time", "payload")
INSERT_EVENT = Statement(insert(events).values({name: bindparam(name) for name in _EVENT}).on_conflict_do_nothing())
_state = insert(patients).values({name: bindparam(name) for name in ("patient_id", "sequence", "deleted")})
UPSERT_PATIENT = Statement(
    _state.on_conflict_do_update(
        index_elements=[patients.c.patient_id],
        set_={"sequence": _state.excluded.sequence, "deleted": _state.excluded.deleted},
        where=patients.c.sequence < _state.excluded.sequence,
    )
)
_LETTER = ("digest", "topic", "partition", "offset", "key", "value", "headers", "reason")
INSERT_DEAD_LETTER = Statement(
    insert(dead_letters).values({name: bindparam(name) for name in _LETTER}).on_conflict_do_nothing()
)

_any_type = bindparam("type", type_=SmallInteger) == int(PatientEventType.UNSPECIFIED)
_newest = (events.c.occur_time, events.c.event_id)
_of_type = select(events).where(or_(_any_type, events.c.type == bindparam("type", type_=SmallInteger)))
LIST_EVENTS = Listing(_of_type, *_newest)
LIST_EVENTS_OF_PATIENT = Listing(_of_type.where(events.c.patient_id == bindparam("patient_id")), *_newest)


def _how_many(kind: PatientEventType, name: str) -> ColumnElement[int]:
    return func.count().filter(events.c.type == int(kind)).label(name)


_start_time = func.timezone(
    literal_column("'UTC'"), func.date_trunc(bindparam("bucket", type_=Text), func.timezone("UTC", events.c.occur_time))
).label("start_time")
COUNT_EVENTS = Statement(
    select(
        _start_time,
        _how_many(PatientEventType.CREATED, "registrations"),
        _how_many(PatientEventType.UPDATED, "updates"),
        _how_many(PatientEventType.DELETED, "deletions"),
    )
    .where(events.c.occur_time >= bindparam("start"), events.c.occur_time < bindparam("end"))
    .group_by(literal_column("1"))
    .order_by(literal_column("1"))
)
COUNT_PATIENTS = Statement(
    select(
        func.count().filter(~patients.c.deleted).label("total_patients"),
        func.count().filter(patients.c.deleted).label("total_deleted"),
    )
)
