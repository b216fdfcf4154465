"""Decisions about patient events and statistics that need no database."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import betterproto2

from gen.pulsetrack.analytics.v1 import AgeBand, PatientEventType, SexCount
from gen.pulsetrack.patient.v1 import PatientEvent, Sex
from services.common.periods import parse_first_day
from services.common.protobuf import codec

AGE_BAND_YEARS, AGE_BAND_COUNT = 10, 10

_CHANGES_PER_SECOND = 100
_CHANGE_ALLOWANCE = 10_000
_MAX_CLOCK_SKEW = timedelta(days=1)
_EARLIEST_CREATION = datetime(2025, 1, 1, tzinfo=UTC)
"""No patient was created before this time."""
_DEFAULT_PERIOD = timedelta(days=30)
_MIN_TIME = datetime.min.replace(tzinfo=UTC)

_codec = codec.codec_of(PatientEvent)

Headers = Sequence[tuple[str, bytes | None]]


def parse_event(
    key: bytes | None, value: bytes | None, headers: Headers | None = None, *, now: datetime
) -> dict[str, Any]:
    """Returns the columns of the event in a message.

    Headers are checked if they are given. Raises ValueError or DecodeError for a message that the patient service
    cannot have published.
    """
    event = _codec.loads(value or b"")
    kind, change = betterproto2.which_one_of(event, "event")
    if change is None or change.patient is None or event.occur_time is None:
        raise ValueError("the message contains no patient event")
    patient_id = UUID(change.patient.id)
    check_event(event, patient_id, key, now=now)
    if headers is not None:
        check_headers(event, change, headers)
    return {
        "event_id": UUID(event.event_id),
        "patient_id": patient_id,
        "type": int(PatientEventType[kind.upper()]),
        "sequence": event.sequence,
        "actor_id": event.actor_id,
        "occur_time": event.occur_time,
        "payload": value,
        "deleted": change.patient.delete_time is not None,
        "sex": int(change.patient.sex),
        "date_of_birth": _parse_date(change.patient.date_of_birth),
        "restricted": change.patient.restricted,
        "erased": kind == "erased",
    }


def check_event(event: PatientEvent, patient_id: UUID, key: bytes | None, *, now: datetime) -> None:
    """Checks the ids and the sequence of an event. Raises ValueError with the reason.

    The checks do not depend on stored events: a genuine event must pass after any loss, replay or reordering.
    """
    if UUID(event.event_id).version != 7:  # noqa: PLR2004
        raise ValueError("the event id is not a version 7 UUID")
    if key != str(patient_id).encode():
        raise ValueError("the key is not the patient id")
    largest = max_sequence(patient_id, min(event.occur_time or now, now + _MAX_CLOCK_SKEW))
    if not 1 <= event.sequence <= largest:
        raise ValueError(f"the sequence {event.sequence} is not between 1 and {largest}")


def check_headers(event: PatientEvent, change: betterproto2.Message, headers: Headers) -> None:
    """Checks that the CloudEvents headers match the event in the value. Raises ValueError."""
    actual = dict(headers)
    expected = {"ce_id": event.event_id, "ce_type": codec.full_name(type(change))}
    for name, value in expected.items():
        if actual.get(name) != value.encode():
            raise ValueError(f"the header {name} is not {value}")


def max_sequence(patient_id: UUID, time: datetime) -> int:
    """Returns the largest sequence that a patient can have reached at a time.

    Changes to a patient are serialized, so the patient's age limits their number. A version 7 UUID contains the
    creation time.
    """
    create_time = _EARLIEST_CREATION
    if patient_id.version == 7:  # noqa: PLR2004
        create_time = datetime.fromtimestamp((patient_id.int >> 80) / 1000, UTC)
    age = max((time - create_time).total_seconds(), 0)
    return _CHANGE_ALLOWANCE + int(age * _CHANGES_PER_SECOND)


def resolve_period(start: datetime | None, end: datetime | None, *, now: datetime) -> tuple[datetime, datetime]:
    """Returns the period of a statistics request: by default, the 30 days before the end, and now as the end."""
    end = end or now
    return start or end - min(_DEFAULT_PERIOD, end - _MIN_TIME), end


def find_period_violations(start: datetime, end: datetime) -> dict[str, str]:
    """Returns the violations of a period that starts after its end."""
    return {"start": "must not be after the end"} if start > end else {}


def summarize_patients(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the totals, sexes and age bands of PatientStatistics from the counts of each combination."""
    totals, sexes, bands = Counter[bool](), Counter[int](), Counter[int]()
    for row in rows:
        totals[row["deleted"]] += row["count"]
        if not row["deleted"]:
            sexes[row["sex"]] += row["count"]
            if row["band"] is not None:
                bands[row["band"]] += row["count"]
    return {
        "total_patients": totals[False],
        "total_deleted": totals[True],
        "sexes": [SexCount(sex=Sex(sex), count=count) for sex, count in sorted(sexes.items())],
        "age_bands": [_build_age_band(band, count) for band, count in sorted(bands.items())],
    }


def _build_age_band(number: int, count: int) -> AgeBand:
    """Returns an age band by its number, starting at 1. The last band has no upper limit, which is 0 in the proto."""
    from_age = AGE_BAND_YEARS * (number - 1)
    to_age = 0 if number == AGE_BAND_COUNT else from_age + AGE_BAND_YEARS - 1
    return AgeBand(from_age=from_age, to_age=to_age, count=count)


def _parse_date(text: str) -> date | None:
    """Returns a date, the first day of a year or month, or None. Patients without a date are counted in no age band."""
    try:
        return parse_first_day(text)
    except ValueError:
        return None
