"""Changes of patients. Each commits with its revision, its access event and its outbox rows."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from uuid_utils.compat import uuid7

from gen.pulsetrack.patient.v1 import (
    Patient,
    PatientCreated,
    PatientDeleted,
    PatientErased,
    PatientEvent,
    PatientMerged,
    PatientUndeleted,
    PatientUnmerged,
    PatientUpdated,
    Revision,
    RevisionType,
)
from services.common.audit.events import record_change
from services.common.context import Caller
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Transaction
from services.common.protobuf import codec
from services.common.protobuf.encoded import Encoded, MessageField
from services.patient.domain import is_relevant_to_billing
from services.patient.models import INSERT_REVISION

TOPIC = "patient.events.v1"
"""The outbox destination of all changes: the Kafka topic."""

BILLING = "billing"
"""The outbox destination of the changes that billing receives."""

EVENT_CODEC = codec.codec_of(PatientEvent)

_REVISION_CODEC = codec.codec_of(Revision)
_REVISED_PATIENT = MessageField(Revision, "patient")

ChangeType = (
    type[PatientCreated]
    | type[PatientUpdated]
    | type[PatientDeleted]
    | type[PatientUndeleted]
    | type[PatientMerged]
    | type[PatientUnmerged]
    | type[PatientErased]
)


class _Kind(NamedTuple):
    event: MessageField
    """The field of the event."""
    patient: MessageField
    """The field of the change."""
    revision_type: RevisionType


def _kind(change: ChangeType, event_field: str, revision_type: RevisionType) -> _Kind:
    return _Kind(MessageField(PatientEvent, event_field), MessageField(change, "patient"), revision_type)


_KINDS: dict[ChangeType, _Kind] = {
    PatientCreated: _kind(PatientCreated, "created", RevisionType.CREATED),
    PatientUpdated: _kind(PatientUpdated, "updated", RevisionType.UPDATED),
    PatientDeleted: _kind(PatientDeleted, "deleted", RevisionType.DELETED),
    PatientUndeleted: _kind(PatientUndeleted, "undeleted", RevisionType.UNDELETED),
    PatientMerged: _kind(PatientMerged, "merged", RevisionType.MERGED),
    PatientUnmerged: _kind(PatientUnmerged, "unmerged", RevisionType.UNMERGED),
    PatientErased: _kind(PatientErased, "erased", RevisionType.ERASED),
}


def record_patient_change(
    tx: Transaction,
    outbox: Outbox,
    change: ChangeType,
    row: Mapping[str, Any],
    caller: Caller,
    *,
    before: Mapping[str, Any] | None = None,
    details: str = "",
) -> Encoded[Patient]:
    """Adds the records of a change to its transaction, and returns the changed patient.

    Takes the row after the change and, if billing may ignore it, the row `before` it. The details are those of the
    access event.
    """
    kind, patient = _KINDS[change], row["message"]
    tx.add(
        INSERT_REVISION,
        patient_id=row["id"],
        revision=row["sequence"],
        actor_id=caller.id,
        occur_time=row["update_time"],
        type=int(kind.revision_type),
        patient=patient,
        resource=row["resource"],
    )
    record_change(tx, row["id"], details=details)
    event_id = uuid7()
    event = PatientEvent(
        event_id=str(event_id), sequence=row["sequence"], actor_id=caller.id, occur_time=row["update_time"]
    )
    outbox.add(
        tx,
        destinations=[TOPIC, BILLING] if is_relevant_to_billing(row, before) else [TOPIC],
        event_id=event_id,
        key=str(row["id"]),
        kind=codec.full_name(change),
        payload=EVENT_CODEC.dumps(event) + kind.event.encode(kind.patient.encode(patient)),
    )
    return Encoded(patient)


def encode_revision(row: Mapping[str, Any]) -> bytes:
    """Returns the serialized revision that a row represents, with the stored message of the patient."""
    revision = Revision(
        revision=row["revision"],
        actor_id=row["actor_id"],
        occur_time=row["occur_time"],
        type=RevisionType(row["type"]),
    )
    return _REVISION_CODEC.dumps(revision) + _REVISED_PATIENT.encode(row["patient"])
