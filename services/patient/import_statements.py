"""The statements of imports, each for a whole batch."""

from sqlalchemy import Column, ColumnElement, Text, Uuid, any_, bindparam, column, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, insert

from services.common.postgres.batches import unnest_rows
from services.common.postgres.guards import see_all
from services.common.postgres.statement import Statement
from services.patient.models import PATIENT, build_record_number_key, is_visible, patients

_COLUMNS = [
    Column(each.name, Text() if isinstance(each.type, Text) else each.type)  # a type of an array has no collation
    for each in patients.c
    if each.computed is None
]
COLUMNS = [column.name for column in _COLUMNS]
"""The columns that `INSERT_PATIENTS` takes, as arrays."""

INSERT_PATIENTS = Statement(
    insert(patients)
    .from_select(COLUMNS, select(unnest_rows(_COLUMNS)))
    .on_conflict_do_nothing()
    .returning(patients.c.id)
)
"""Inserts patients, except those whose email address or record number another patient has. Returns the ids."""

_sent = func.unnest(bindparam("keys", type_=ARRAY(Text))).table_valued(column("key", Text)).render_derived(name="sent")
_has_email = patients.c.email_key == _sent.c.key
_has_number: ColumnElement[bool] = literal_column(
    build_record_number_key("patients.medical_record_number")
) == literal_column(build_record_number_key("sent.key"))


def _find(condition: ColumnElement[bool]) -> Statement:
    found = select(_sent.c.key.label("key"), *PATIENT).join_from(_sent, patients, condition)
    return Statement(found.where(is_visible(patients.c)))


FIND_BY_EMAIL = _find(_has_email)
"""Finds the patients, deleted or not, that have the email addresses with these keys."""

FIND_BY_NUMBER = _find(_has_number)
"""Finds the patients, deleted or not, that have these record numbers."""

# Sees all patients: a record number that a restricted patient has cannot be used for another one.
FIND_TAKEN_NUMBERS = Statement(see_all(select(_sent.c.key.label("key"))).join_from(_sent, patients, _has_number))

LOCK_PATIENTS = Statement(
    select(*PATIENT)
    .where(patients.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))), patients.c.delete_time.is_(None))
    .where(is_visible(patients.c))
    .order_by(patients.c.id)
    .with_for_update()
)
"""Locks the patients with these ids that are neither deleted nor merged, in the order of their ids."""
