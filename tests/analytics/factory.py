"""Patient events and messages, as the patient service publishes them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import betterproto2
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
    Sex,
)
from services.common.messaging.producer import OutgoingMessage
from services.common.protobuf import codec
from tests.harness.tokens import USER_ID

KEY = "one key for all, which puts them into one partition in order"
KINDS: dict[str, Callable[..., Any]] = {
    "created": PatientCreated,
    "updated": PatientUpdated,
    "deleted": PatientDeleted,
    "undeleted": PatientUndeleted,
    "merged": PatientMerged,
    "unmerged": PatientUnmerged,
    "erased": PatientErased,
}


def build_event(
    kind: str, patient_id: str = "", *, sex: Sex = Sex.UNSPECIFIED, date_of_birth: str = "", **fields: Any
) -> PatientEvent:
    """Returns an event of a kind, by default of a new patient. The given fields replace the defaults."""
    patient = Patient(
        id=patient_id or str(uuid4()),
        sex=sex,
        date_of_birth=date_of_birth,
        delete_time=datetime.now(UTC) if kind in {"deleted", "merged", "erased"} else None,
    )
    defaults = {
        "event_id": str(uuid7()),
        "sequence": 1,
        "actor_id": USER_ID,
        "occur_time": datetime.now(UTC),
        kind: KINDS[kind](patient=patient),
    }
    return PatientEvent(**(defaults | fields))


def build_message(event: PatientEvent) -> OutgoingMessage:
    """Returns the message of an event."""
    _, change = betterproto2.which_one_of(event, "event")
    patient = change.patient if change else None
    headers = {"ce_id": event.event_id, "ce_type": codec.full_name(type(change)) if change else ""}
    key = patient.id if patient else KEY
    return OutgoingMessage(key=key, value=codec.codec_of(PatientEvent).dumps(event), headers=headers)
