"""Sends every deletion to billing again. Billing ignored earlier deletions, and left the accounts active."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from uuid_utils.compat import uuid7

from services.common.protobuf import contract

revision = "0008"
down_revision = "0007"

_BATCH = 1000
_DELETED = "pulsetrack.patient.v1.PatientDeleted"


def upgrade() -> None:
    """Adds an outbox row for each deleted patient. Billing ignores a row whose sequence it has already processed."""
    tables = sa.MetaData()
    patients, revisions, outbox = (
        sa.Table(name, tables, autoload_with=op.get_bind()) for name in ("patients", "revisions", "outbox")
    )
    newest = sa.and_(revisions.c.patient_id == patients.c.id, revisions.c.revision == patients.c.sequence)
    page = (
        sa.select(revisions)
        .join(patients, newest)
        .where(patients.c.delete_time.is_not(None))
        .order_by(patients.c.id)
        .limit(_BATCH)
    )
    rows = op.get_bind().execute(page).mappings().all()
    while rows:
        op.bulk_insert(outbox, [_row(row) for row in rows])
        rows = op.get_bind().execute(page.where(patients.c.id > rows[-1]["patient_id"])).mappings().all()


def _row(deleted: sa.RowMapping) -> dict[str, Any]:
    event_id = uuid7()
    event = contract.message_class("pulsetrack.patient.v1.PatientEvent")(
        event_id=str(event_id),
        sequence=deleted["revision"],
        actor_id=deleted["actor_id"],
        occur_time=deleted["occur_time"],
        deleted=contract.message_class(_DELETED)(
            patient=contract.message_class("pulsetrack.patient.v1.Patient").FromString(deleted["patient"])
        ),
    )
    return {
        "destination": "billing",
        "event_id": event_id,
        "key": str(deleted["patient_id"]),
        "type": _DELETED,
        "payload": event.SerializeToString(),
        "traceparent": "",
    }
