"""The tables and SQL statements of analytics."""

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    any_,
    bindparam,
    delete,
    exists,
    false,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from services.common.audit.search import Search
from services.common.audit.tables import AuditTables
from services.common.messaging.topic import topics_table
from services.common.patient_access import ACCESSIBLE, is_accessible
from services.common.postgres.batches import select_last, unnest_rows
from services.common.postgres.guards import guard, see_all
from services.common.postgres.lookups import is_found
from services.common.postgres.paging import Listing, constant
from services.common.postgres.statement import Statement

metadata = MetaData()

AUDIT = AuditTables(metadata)
SEARCH = Search(AUDIT)

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
    info=guard(ACCESSIBLE),
)
"""Patient events. The payload is the received message. Later statistics can use all its fields.

The events of an erased patient have no payload.
"""

Index("events_newest", events.c.occur_time.desc(), events.c.event_id.desc())
Index("events_of_patient", events.c.patient_id, events.c.occur_time.desc(), events.c.event_id.desc())
Index("events_of_type", events.c.type, events.c.occur_time.desc(), events.c.event_id.desc())

patients = Table(
    "patients",
    metadata,
    Column("patient_id", Uuid, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("sex", Integer, nullable=False, server_default="0"),
    Column("date_of_birth", Date),
    Column("restricted", Boolean, nullable=False, server_default=false()),
    Column("erased", Boolean, nullable=False, server_default=false()),
)
"""The state of each patient, from the event with the highest sequence. Nothing follows the event that erases one."""

Index("patients_restricted", patients.c.patient_id, postgresql_where=patients.c.restricted)

event_counts = Table(
    "event_counts",
    metadata,
    Column("day", Date, primary_key=True),
    Column("type", SmallInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
)
"""The number of events of each day (UTC) and type. Triggers of the table of events update it."""

patient_counts = Table(
    "patient_counts",
    metadata,
    Column("deleted", Boolean, nullable=False),
    Column("sex", Integer, nullable=False),
    Column("birth_month", Date),
    Column("count", BigInteger, nullable=False),
)
"""The number of patients by state and first day of the month of birth. Triggers of the table of patients update it."""

Index(
    "patient_counts_key",
    patient_counts.c.deleted,
    patient_counts.c.sex,
    patient_counts.c.birth_month,
    unique=True,
    postgresql_nulls_not_distinct=True,
)

birthday_counts = Table(
    "birthday_counts",
    metadata,
    Column("date_of_birth", Date, primary_key=True),
    Column("deleted", Boolean, primary_key=True),
    Column("sex", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
)
"""The number of patients by date of birth and state. Triggers of the table of patients update it."""

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", JSONB, nullable=False),
    Column("reason", Text, nullable=False),
    Column("receive_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", Integer, nullable=False, server_default="1"),
    Column("replay_time", DateTime(timezone=True)),
)
"""Messages that could not be stored as events, unchanged."""

Index("dead_letters_newest", dead_letters.c.receive_time.desc(), dead_letters.c.id.desc())

known_topics = topics_table(metadata)

EVENT_COLUMNS = ("event_id", "patient_id", "type", "sequence", "actor_id", "occur_time", "payload")
_new_events = unnest_rows([events.c[name] for name in EVENT_COLUMNS])
INSERT_EVENTS = Statement(insert(events).from_select(EVENT_COLUMNS, select(_new_events)).on_conflict_do_nothing())

STATE_COLUMNS = ("patient_id", "sequence", "deleted", "sex", "date_of_birth", "restricted", "erased")
_last_states = select_last([patients.c[name] for name in STATE_COLUMNS], key="patient_id", order="sequence")
_state = insert(patients).from_select(STATE_COLUMNS, _last_states)
UPSERT_PATIENTS = Statement(
    _state.on_conflict_do_update(
        index_elements=[patients.c.patient_id],
        set_={name: _state.excluded[name] for name in STATE_COLUMNS[1:]},
        where=patients.c.sequence < _state.excluded.sequence,
    )
)
_ids = bindparam("ids", type_=ARRAY(Uuid))
FIND_ERASED = Statement(select(patients.c.patient_id).where(patients.c.patient_id == any_(_ids), patients.c.erased))
# Sees all events: an erasure does not depend on who may see the patient.
ERASE_EVENTS = Statement(
    see_all(update(events))
    .where(events.c.patient_id == any_(_ids), events.c.payload != literal(b""))
    .values(payload=literal(b""))
)
_named = func.unnest(bindparam("texts", type_=ARRAY(LargeBinary))).column_valued("named")
_content = func.coalesce(dead_letters.c.key, literal(b"")).concat(func.coalesce(dead_letters.c.value, literal(b"")))
_is_erasure = func.coalesce(dead_letters.c.headers["ce_type"].astext, "") == "pulsetrack.patient.v1.PatientErased"
DELETE_DEAD_LETTERS = Statement(
    delete(dead_letters).where(exists(constant(1)).where(func.position(_named.op("IN")(_content)) > 0), ~_is_erasure)
)
"""Deletes the dead letters that contain one of some ids, but not those of erasures, which may be replayed right now."""

_DEAD_LETTER = ("digest", "topic", "partition", "offset", "key", "value", "headers", "reason")
INSERT_DEAD_LETTER = Statement(
    insert(dead_letters).values({name: bindparam(name) for name in _DEAD_LETTER}).on_conflict_do_nothing()
)
COUNT_DEAD_LETTERS = Statement(
    select(func.count().label("count")).select_from(dead_letters).where(dead_letters.c.replay_time.is_(None))
)
_event_id = func.coalesce(dead_letters.c.headers["ce_id"].astext, "").label("event_id")
_summary = [
    _event_id,
    *(column for column in dead_letters.c if column.name not in {"key", "value", "headers", "digest"}),
]
_has_id = dead_letters.c.id == bindparam("letter_id", type_=Uuid)
LIST_DEAD_LETTERS = Listing(select(*_summary), dead_letters.c.receive_time, dead_letters.c.id)
GET_DEAD_LETTER = Statement(select(*_summary, dead_letters.c.key, dead_letters.c.value).where(_has_id))
_count_attempt = update(dead_letters).where(_has_id).values(attempts=dead_letters.c.attempts + 1)
MARK_DEAD_LETTER_REPLAYED = Statement(
    _count_attempt.values(replay_time=func.coalesce(dead_letters.c.replay_time, func.now())).returning(*_summary)
)
RECORD_FAILED_REPLAY = Statement(_count_attempt.values(reason=bindparam("why")))

_newest = (events.c.occur_time, events.c.event_id)
_of_patient = events.c.patient_id == bindparam("patient_id")
_of_type = events.c.type == bindparam("type", type_=SmallInteger)
_is_of_event = patients.c.patient_id == events.c.patient_id
_restricted = is_found(see_all(select(constant(1))).where(_is_of_event, patients.c.restricted))
_visible = select(events, _restricted.label("restricted")).where(is_accessible(events.c.patient_id, _restricted))
"""The events that the current caller may see (see VisibleRows)."""

LIST_EVENTS = {
    (False, False): Listing(_visible, *_newest),
    (True, False): Listing(_visible.where(_of_patient), *_newest),
    (False, True): Listing(_visible.where(_of_type), *_newest),
    (True, True): Listing(_visible.where(_of_patient, _of_type), *_newest),
}
"""The events, by whether they are those of a patient, and whether they are of a type."""
