"""Decisions about events and statistics, without a database or Kafka."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from gen.pulsetrack.analytics.v1 import AgeBand, PatientEventType, SexCount
from gen.pulsetrack.patient.v1 import Sex
from services.analytics.domain import (
    find_period_violations,
    max_sequence,
    parse_event,
    resolve_period,
    summarize_patients,
)
from tests.analytics.factory import build_event, build_message

NOW = datetime.now(UTC)


def parse(key: str, value: bytes) -> dict[str, Any]:
    return parse_event(key.encode(), value, now=NOW)


def test_columns_of_an_event_come_from_its_value() -> None:
    patient_id = str(uuid7())
    event = build_event("deleted", patient_id, sequence=3, sex=Sex.FEMALE, date_of_birth="1990-05-01")
    columns = parse(patient_id, build_message(event).value)
    assert (columns["event_id"], columns["patient_id"]) == (UUID(event.event_id), UUID(patient_id))
    assert (columns["type"], columns["sequence"], columns["deleted"]) == (PatientEventType.DELETED, 3, True)
    assert (columns["sex"], str(columns["date_of_birth"])) == (Sex.FEMALE, "1990-05-01")


def test_invalid_date_of_birth_is_stored_as_unknown() -> None:
    patient_id = str(uuid7())
    value = build_message(build_event("created", patient_id, date_of_birth="yesterday")).value
    assert parse(patient_id, value)["date_of_birth"] is None


def test_event_time_in_the_future_does_not_raise_the_sequence_limit() -> None:
    patient_id = str(uuid7())
    event = build_event("updated", patient_id, sequence=10**8, occur_time=NOW + timedelta(days=365))
    with pytest.raises(ValueError, match="the sequence 100000000 is not between 1 and"):
        parse(patient_id, build_message(event).value)


def test_max_sequence_grows_with_the_age_of_the_patient() -> None:
    patient_id = uuid7()
    created = datetime.fromtimestamp((patient_id.int >> 80) / 1000, UTC)
    limits = [max_sequence(patient_id, created + timedelta(seconds=seconds)) for seconds in (-3600, 0, 1, 86400)]
    assert limits == [10_000, 10_000, 10_100, 8_650_000]


def test_patient_id_without_a_time_counts_as_created_in_2025() -> None:
    assert max_sequence(uuid4(), datetime(2025, 1, 1, 0, 0, 10, tzinfo=UTC)) == 11_000


def test_period_defaults_to_the_last_30_days() -> None:
    assert resolve_period(None, None, now=NOW) == (NOW - timedelta(days=30), NOW)


def test_period_starts_no_earlier_than_the_first_representable_time() -> None:
    first = datetime.min.replace(tzinfo=UTC)
    assert resolve_period(None, first + timedelta(days=1), now=NOW)[0] == first


def test_period_that_starts_after_its_end_is_rejected() -> None:
    assert [*find_period_violations(NOW, NOW - timedelta(seconds=1))] == ["start"]
    assert not find_period_violations(NOW, NOW)


def test_deleted_patients_count_only_in_their_total() -> None:
    rows: list[dict[str, Any]] = [
        {"deleted": False, "sex": 2, "band": 1, "count": 3},
        {"deleted": False, "sex": 1, "band": 1, "count": 1},
        {"deleted": False, "sex": 1, "band": 10, "count": 2},
        {"deleted": False, "sex": 1, "band": None, "count": 5},
        {"deleted": True, "sex": 1, "band": 4, "count": 7},
    ]
    assert summarize_patients(rows) == {
        "total_patients": 11,
        "total_deleted": 7,
        "sexes": [SexCount(sex=Sex(1), count=8), SexCount(sex=Sex(2), count=3)],
        "age_bands": [AgeBand(from_age=0, to_age=9, count=4), AgeBand(from_age=90, to_age=0, count=2)],
    }
