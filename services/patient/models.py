"""The tables and statements of the patient service."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Computed,
    Date,
    DateTime,
    Index,
    Label,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    insert,
    not_,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.audit.search import Search
from services.common.audit.tables import AuditTables
from services.common.messaging.outbox import outbox_table
from services.common.messaging.topic import topics_table
from services.common.postgres.guards import VIEWER, guard, see_all
from services.common.postgres.idempotency import StoredResponses, responses_table
from services.common.postgres.journal import Journal, journal_columns
from services.common.postgres.lookups import apply_last, is_found
from services.common.postgres.paging import Listing, Row, constant
from services.common.postgres.statement import Statement

metadata = MetaData()

_WORDS = r"""
    ' ' || translate(encode(fold_words(
        name || U&'\E000' || email || U&'\E000' || coalesce(medical_record_number, '') || U&'\E000' || phone
    )::bytea, 'escape'), '\', 'U') || ' '
"""

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
    Column("message", LargeBinary),
    Column("message_sequence", BigInteger),
    Column("words", Text, Computed(_WORDS, persisted=True), nullable=False),
    Column("restricted", Boolean, nullable=False, server_default=false()),
    Column("merged_into", Uuid),
    CheckConstraint("merged_into IS NULL OR delete_time IS NOT NULL", "patients_merged_are_deleted"),
    Column("resource", LargeBinary),
    Column("last_date_of_birth", Date),
    info=guard(VIEWER),
)
"""Patients, including deleted ones.

- `sequence` is the number of changes so far.
- `words` are the folded words that queries search, in ASCII, each after a space (services.patient.words).
- `search_key` is no longer searched. The previous version still writes it.
- `message` is the serialized patient after the change `message_sequence` (see `select_message`).
- `resource` is the FHIR resource of the last write by FHIR (services.patient.fhir.mapping).
- A patient that is `restricted` is visible to the callers with a grant only (see `is_visible`).
- `last_date_of_birth` is the last day of the year or month of birth, whose first day is `date_of_birth`, if no more is
  known.
- `merged_into` is the survivor of a merged patient, which is not merged itself. A merged patient has a `delete_time`.
"""

PATIENT = [column for column in patients.c if column.name not in {"words", "message", "message_sequence"}]
"""The columns of a patient."""

for column in (patients.c.name, patients.c.create_time, patients.c.update_time, patients.c.date_of_birth):
    Index(f"patients_by_{column.name}", column, patients.c.id)
Index("patients_by_sex", patients.c.sex, patients.c.create_time, patients.c.id)
Index("patients_by_registered_date", patients.c.registered_date)
Index("patients_merged", patients.c.merged_into, postgresql_where=patients.c.merged_into.is_not(None))
Index("patients_by_words", patients.c.words, postgresql_using="gin", postgresql_ops={"words": "gin_trgm_ops"})

_INVISIBLE = (
    "'["
    r"\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\u3164\uFE00-\uFE0F"
    r"\uFEFF\uFFA0\uFFF0-\uFFF8\U0001BCA0-\U0001BCA3\U0001D173-\U0001D17A\U000E0000-\U000E0FFF"
    "]'"
)
"""Characters that are invisible (Default_Ignorable)."""


def build_record_number_key(number: str) -> str:
    """Returns the SQL of the key of a record number, given in SQL.

    Record numbers share it that differ only in case, width or invisible characters.
    """
    return f"lower(normalize(regexp_replace({number}, {_INVISIBLE}, '', 'g'), NFKC) COLLATE pg_c_utf8)"


Index(
    "patients_record_number_key", text(build_record_number_key("medical_record_number")), unique=True, _table=patients
)

revisions = Table(
    "revisions",
    metadata,
    Column("patient_id", Uuid, primary_key=True),
    Column("revision", BigInteger, primary_key=True),
    Column("actor_id", Text, nullable=False),
    Column("occur_time", DateTime(timezone=True), nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("patient", LargeBinary, nullable=False),
    Column("resource", LargeBinary),
    *journal_columns(),
    comment="append-only",
    info=guard(VIEWER),
)
"""The state of a patient after each change: `revision` is the sequence, `patient` the serialized message.

`resource` is that of the patient at the time.
"""

grants = Table(
    "patient_grants",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("patient_id", Uuid, primary_key=True),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expire_time", DateTime(timezone=True)),
)
"""The callers to whom a patient is visible while it is restricted.

A grant without an `expire_time` is that of a member of the care team. The others are those of callers that broke glass.
"""

Index("patient_grants_of_patient", grants.c.patient_id, grants.c.create_time, grants.c.user_id)

erasures = Table(
    "erasures",
    metadata,
    Column("patient_id", Uuid, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("request_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("erase_time", DateTime(timezone=True), nullable=False),
    Column("execute_time", DateTime(timezone=True)),
    Column("restricted", Boolean, nullable=False, server_default=false()),
)
"""The patients to erase from `erase_time` on, and those erased at `execute_time`, which may have been `restricted`."""

Index("erasures_due", erasures.c.erase_time, postgresql_where=erasures.c.execute_time.is_(None))

fhir_exports = Table(
    "fhir_exports",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("start_time", DateTime(timezone=True), nullable=False),
    Column("parameters", Text, nullable=False),
    Column("transaction", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
)
"""Bulk exports. `transaction` and `position` are the snapshot: a position in the journal of revisions."""

REVISIONS_JOURNAL = Journal(revisions)

AUDIT = AuditTables(metadata, subject_ids="patient_ids")

outbox_rows = outbox_table(metadata)
known_topics = topics_table(metadata)

responses = responses_table(metadata)
RESPONSES = StoredResponses(responses)


IS_GRANT_VALID = or_(grants.c.expire_time.is_(None), grants.c.expire_time > func.now())


SEES_ALL = select(bindparam(VIEWER, type_=Text)).scalar_subquery().is_(None)
"""The condition that the current caller may see all patients."""


def is_visible(row: Row, *, is_listed: bool = False) -> ColumnElement[bool]:
    """Returns the condition that the current caller may see a patient. Every statement that reads patients has it.

    Its subqueries run for restricted patients only. The viewer is the result of a subquery, which Postgres does not
    know when it plans, so it keeps one plan for all callers. A list can examine so many patients that one read of all
    grants of the caller, which Postgres may choose for EXISTS, is faster than a lookup for each.
    """
    viewer = select(bindparam(VIEWER, type_=Text)).scalar_subquery()
    granted = select(constant(1)).where(grants.c.user_id == viewer, grants.c.patient_id == row.id, IS_GRANT_VALID)
    return or_(not_(row.restricted), SEES_ALL, granted.exists() if is_listed else is_found(granted))


def select_message(row: Row) -> Label[bytes]:
    """Returns the column `message`: the serialized patient of a row, from its latest change.

    The previous version does not write `message`. Until it is stored for the latest change, the revision has it.
    """
    is_latest = (revisions.c.patient_id == row.id, revisions.c.revision == row.sequence)
    stored = case((row.message_sequence == row.sequence, row.message))
    revised = see_all(select(revisions.c.patient)).where(*is_latest)  # the row is visible
    return func.coalesce(stored, revised.scalar_subquery()).label("message")


_values = {column.name: bindparam(column.name, type_=column.type) for column in patients.c if column.computed is None}
_not_deleted = patients.c.delete_time.is_(None)
_has_id = patients.c.id == bindparam("id", type_=Uuid)
_is_any = patients.c.id == any_(bindparam("ids", type_=ARRAY(Uuid)))

_visible = is_visible(patients.c)

VISIBLE_PATIENTS = select(patients).where(is_visible(patients.c, is_listed=True))
"""The patients that the current caller may see, deleted or not. All lists begin with it."""

INSERT_PATIENT = Statement(insert(patients).values(_values))
GET_PATIENT = Statement(select(select_message(patients.c)).where(_has_id, _not_deleted, _visible))
GET_PATIENTS = Statement(select(patients.c.id, select_message(patients.c)).where(_is_any, _not_deleted, _visible))
GET_PATIENT_FOR_UPDATE = Statement(  # finds merged patients too, whose changes are rejected with another error
    select(*PATIENT).where(_has_id, or_(_not_deleted, patients.c.merged_into.is_not(None)), _visible).with_for_update()
)
GET_ANY_PATIENT_FOR_UPDATE = Statement(select(*PATIENT).where(_has_id, _visible).with_for_update())
UPDATE_PATIENT = Statement(  # the caller has locked the row with one of the statements above
    see_all(update(patients)).where(_has_id).values({name: value for name, value in _values.items() if name != "id"})
)

PATIENT_EXISTS = Statement(select(constant(1)).where(_has_id, _visible))

_erased_id = bindparam("patient_id", type_=Uuid)
_merged_ids = see_all(select(patients.c.id)).where(patients.c.merged_into == _erased_id)  # the survivor is visible
_person_ids = func.array(union_all(select(_erased_id), _merged_ids).scalar_subquery())
CANCEL_ERASURE = Statement(
    delete(erasures).where(erasures.c.patient_id == any_(_person_ids), apply_last(erasures.c.execute_time.is_(None)))
)
"""Cancels the erasures of a patient and of those that are merged into it, unless they were executed meanwhile."""

IS_ERASED = Statement(
    select(constant(1)).where(
        erasures.c.patient_id == bindparam("id", type_=Uuid), erasures.c.execute_time.is_not(None)
    )
)

# Sees all patients: it runs for all watchers, and each then looks up the restricted ones.
FIND_RESTRICTED = Statement(
    union_all(
        see_all(select(patients.c.id)).where(_is_any, patients.c.restricted),
        select(erasures.c.patient_id).where(
            erasures.c.patient_id == any_(bindparam("ids", type_=ARRAY(Uuid))), erasures.c.restricted
        ),
    )
)

INSERT_REVISION = Statement(
    insert(revisions).values(
        {
            name: bindparam(name, type_=revisions.c[name].type)
            for name in ("patient_id", "revision", "actor_id", "occur_time", "type", "patient", "resource")
        }
    )
)
REVISES_VISIBLE = exists(constant(1)).where(patients.c.id == revisions.c.patient_id, _visible)
"""The condition that the current caller may see the patient of a revision."""

LIST_REVISIONS = Listing(
    select(revisions).where(revisions.c.patient_id == bindparam("id", type_=Uuid), REVISES_VISIBLE),
    revisions.c.revision,
)

SEARCH = Search(AUDIT)
