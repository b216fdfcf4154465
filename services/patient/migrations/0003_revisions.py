"""Creates the revisions of patients. Each existing patient gets one revision, with its current state and no actor."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from services.common.protobuf import contract

revision = "0003"
down_revision = "0002"

_BATCH = 1000
_CREATED, _UPDATED, _DELETED = 1, 2, 3
_TEXTS = ("name", "email", "address", "phone", "sex")
_DATES = ("date_of_birth", "registered_date")
_TIMES = ("create_time", "update_time", "delete_time")


def upgrade() -> None:
    """Creates the table, and adds a revision for each patient."""
    revisions = op.create_table(
        "revisions",
        sa.Column("patient_id", sa.Uuid, primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("occur_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("patient", sa.LargeBinary, nullable=False),
    )
    patients = sa.Table("patients", sa.MetaData(), autoload_with=op.get_bind())
    page = sa.select(patients).order_by(patients.c.id).limit(_BATCH)
    rows = op.get_bind().execute(page).mappings().all()
    while rows:
        op.bulk_insert(revisions, [_revision(row) for row in rows])
        rows = op.get_bind().execute(page.where(patients.c.id > rows[-1]["id"])).mappings().all()


def _revision(row: sa.RowMapping) -> dict[str, Any]:
    last = _CREATED if row["sequence"] == 1 else _UPDATED
    return {
        "patient_id": row["id"],
        "revision": row["sequence"],
        "actor_id": "",
        "occur_time": row["update_time"],
        "type": last if row["delete_time"] is None else _DELETED,
        "patient": _message(row),
    }


def _message(row: sa.RowMapping) -> bytes:
    """Returns the serialized patient. Reads only the columns that exist in this version of the schema."""
    values = {name: row[name] for name in (*_TEXTS, *_TIMES)}
    values |= {name: row[name].isoformat() for name in _DATES}
    values |= {
        "id": str(row["id"]),
        "etag": str(row["sequence"]),
        "medical_record_number": row["medical_record_number"],
    }
    message = contract.message_class("pulsetrack.patient.v1.Patient")
    return message(**{name: value for name, value in values.items() if value is not None}).SerializeToString()
