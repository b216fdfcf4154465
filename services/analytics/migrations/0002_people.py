"""Adds the sex and date of birth of each patient, from the newest event of the patient."""

from datetime import date
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op

from gen.pulsetrack.patient.v1 import PatientEvent
from services.common.protobuf import codec

revision = "0002"
down_revision = "0001"

_BATCH = 1000
_NEWEST = sa.text(
    "SELECT DISTINCT ON (patient_id) patient_id, payload FROM events WHERE patient_id > :after "
    "ORDER BY patient_id, sequence DESC LIMIT :batch"
)
_FILL = sa.text("UPDATE patients SET sex = :sex, date_of_birth = :date_of_birth WHERE patient_id = :patient_id")
_codec = codec.codec_of(PatientEvent)


def upgrade() -> None:
    """Adds the columns and fills them from the stored events."""
    op.add_column("patients", sa.Column("sex", sa.Integer, nullable=False, server_default="0"))
    op.add_column("patients", sa.Column("date_of_birth", sa.Date))
    connection = op.get_bind()
    after = UUID(int=0)
    while batch := connection.execute(_NEWEST, {"after": after, "batch": _BATCH}).all():
        connection.execute(_FILL, [_to_columns(row.patient_id, row.payload) for row in batch])
        after = batch[-1].patient_id


def _to_columns(patient_id: Any, payload: bytes) -> dict[str, Any]:
    event = _codec.loads(payload)
    change = event.created or event.updated or event.deleted or event.undeleted
    patient = change.patient if change else None
    return {
        "patient_id": patient_id,
        "sex": int(patient.sex) if patient else 0,
        "date_of_birth": _parse_date(patient.date_of_birth) if patient else None,
    }


def _parse_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
