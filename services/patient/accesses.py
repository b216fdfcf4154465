"""What callers are shown of a patient's access events."""

from asyncpg import Record

from gen.pulsetrack.patient.v1 import AccessEvent
from services.common.audit.tables import split_call


def access_event_of(row: Record, patient_id: str) -> AccessEvent:
    """Returns what an event says about one of its patients."""
    method, query = split_call(row["method"])
    return AccessEvent(
        id=str(row["id"]),
        patient_id=patient_id,
        actor_id=row["actor_id"],
        method=method,
        query=query,
        outcome=row["outcome"],
        occur_time=row["occur_time"],
        request_id=row["request_id"],
        remote_address=row["remote_address"],
    )
