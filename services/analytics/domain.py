"""Checks of an event beyond its form: whether the patient service can have published it.

A check must never refuse a genuine event, whatever was lost, replayed or reordered before it, so that none depends on
the events that are stored.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import betterproto2

from gen.pulsetrack.patient.v1 import PatientEvent
from services.common.protobuf import codec

_CHANGES_PER_SECOND = 100
_CHANGES_AT_ONCE = 10_000
_CLOCK_TOLERANCE = timedelta(days=1)
_FIRST_TIME = datetime(2025, 1, 1, tzinfo=UTC)
"""Before every patient."""

Headers = Sequence[tuple[str, bytes | None]]


def check_event(event: PatientEvent, patient_id: UUID, key: bytes | None, *, now: datetime) -> None:
    """Checks the event's ids and its sequence. Raises ValueError with the reason."""
    if UUID(event.event_id).version != 7:  # noqa: PLR2004
        raise ValueError("the event's id is no UUID of version 7")
    if key != str(patient_id).encode():
        raise ValueError("the key is not the patient's id")
    most = largest_sequence(patient_id, min(event.occur_time or now, now + _CLOCK_TOLERANCE))
    if not 1 <= event.sequence <= most:
        raise ValueError(f"the sequence {event.sequence} is not between 1 and {most}")


def check_headers(event: PatientEvent, happened: betterproto2.Message, headers: Headers) -> None:
    """Checks that the headers of CloudEvents name the event that the value holds. Raises ValueError."""
    named = dict(headers)
    expected = {"ce_id": event.event_id, "ce_type": codec.full_name(type(happened))}
    for name, value in expected.items():
        if named.get(name) != value.encode():
            raise ValueError(f"the header {name} is not {value}")


def largest_sequence(patient_id: UUID, time: datetime) -> int:
    """Returns the largest sequence that a patient can have reached at a time.

    Changes of a patient wait for each other, so that their number is bounded by the patient's age, which a UUID of
    version 7 tells.
    """
    created = _FIRST_TIME
    if patient_id.version == 7:  # noqa: PLR2004
        created = datetime.fromtimestamp((patient_id.int >> 80) / 1000, UTC)
    age = max((time - created).total_seconds(), 0)
    return _CHANGES_AT_ONCE + int(age * _CHANGES_PER_SECOND)
