"""Revisions: each state that a patient's record had, who brought it there, and when."""

from asyncpg import Record
from betterproto2 import Message

from gen.pulsetrack.patient.v1 import (
    Patient,
    PatientCreated,
    PatientDeleted,
    PatientUndeleted,
    PatientUpdated,
    Revision,
    RevisionType,
)
from services.common.context import Caller
from services.common.postgres.database import Transaction
from services.common.protobuf import codec
from services.patient.models import INSERT_REVISION

_TYPES: dict[type[Message], RevisionType] = {
    PatientCreated: RevisionType.CREATED,
    PatientUpdated: RevisionType.UPDATED,
    PatientDeleted: RevisionType.DELETED,
    PatientUndeleted: RevisionType.UNDELETED,
}
_codec = codec.codec_of(Patient)


async def add_revision(tx: Transaction, kind: type[Message], patient: Patient, sequence: int, caller: Caller) -> None:
    """Writes what a patient is after a change, in the change's transaction."""
    await tx.run(
        INSERT_REVISION,
        patient_id=patient.id,
        revision=sequence,
        actor_id=caller.id,
        occur_time=patient.update_time,
        type=int(_TYPES[kind]),
        patient=_codec.dumps(patient),
    )


def revision_of(row: Record) -> Revision:
    """Returns the revision that a row holds."""
    return Revision(
        revision=row["revision"],
        patient=_codec.loads(row["patient"]),
        actor_id=row["actor_id"],
        occur_time=row["occur_time"],
        type=RevisionType(row["type"]),
    )
