"""Changes of patients. Each commits with its revision, its access event and its outbox rows."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from uuid_utils.compat import uuid7

from gen.pulsetrack.patient.v1 import (
    Patient,
    PatientCreated,
    PatientDeleted,
    PatientEvent,
    PatientUndeleted,
    PatientUpdated,
    Revision,
    RevisionType,
)
from services.common.audit.events import record_change
from services.common.context import Caller
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Transaction
from services.common.protobuf import codec
from services.patient.domain import is_relevant_to_billing, to_patient
from services.patient.models import INSERT_REVISION

TOPIC = "patient.events.v1"
"""The outbox destination of all changes: the Kafka topic."""

BILLING = "billing"
"""The outbox destination of the changes that billing receives."""

EVENT_CODEC = codec.codec_of(PatientEvent)
_PATIENT_CODEC = codec.codec_of(Patient)

ChangeType = type[PatientCreated] | type[PatientUpdated] | type[PatientDeleted] | type[PatientUndeleted]


class _Kind(NamedTuple):
    event_field: str
    revision_type: RevisionType


_KINDS: dict[ChangeType, _Kind] = {
    PatientCreated: _Kind("created", RevisionType.CREATED),
    PatientUpdated: _Kind("updated", RevisionType.UPDATED),
    PatientDeleted: _Kind("deleted", RevisionType.DELETED),
    PatientUndeleted: _Kind("undeleted", RevisionType.UNDELETED),
}


def record_patient_change(
    tx: Transaction,
    outbox: Outbox,
    change: ChangeType,
    row: Mapping[str, Any],
    caller: Caller,
    *,
    before: Mapping[str, Any] | None = None,
) -> Patient:
    """Adds the records of a change to its transaction, and returns the changed patient.

    Takes the row after the change and, for an update, the row `before` it.
    """
    patient = to_patient(row)
    tx.add(
        INSERT_REVISION,
        patient_id=patient.id,
        revision=row["sequence"],
        actor_id=caller.id,
        occur_time=patient.update_time,
        type=int(_KINDS[change].revision_type),
        patient=_PATIENT_CODEC.dumps(patient),
    )
    record_change(tx, row["id"])
    event_id = uuid7()
    event = PatientEvent(
        event_id=str(event_id),
        sequence=row["sequence"],
        actor_id=caller.id,
        occur_time=row["update_time"],
        **{_KINDS[change].event_field: change(patient=patient)},  # type: ignore[arg-type]
    )
    outbox.add(
        tx,
        destinations=[TOPIC, BILLING] if is_relevant_to_billing(row, before) else [TOPIC],
        event_id=event_id,
        key=patient.id,
        kind=codec.full_name(change),
        payload=EVENT_CODEC.dumps(event),
    )
    return patient


def to_revision(row: Mapping[str, Any]) -> Revision:
    """Returns the revision that a row represents."""
    return Revision(
        revision=row["revision"],
        patient=_PATIENT_CODEC.loads(row["patient"]),
        actor_id=row["actor_id"],
        occur_time=row["occur_time"],
        type=RevisionType(row["type"]),
    )
