"""GetPatientStatistics. Each test uses its own year, because all share one database."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.analytics.v1 import Bucket, GetPatientStatisticsRequest, PatientStatistics
from gen.pulsetrack.patient.v1 import PatientEvent
from services.common.protobuf import contract
from tests.analytics.factory import build_event
from tests.harness.client import Client, Rejected

StoreEvents = Callable[..., None]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def build_creations(*times: str) -> list[PatientEvent]:
    """Returns creations of patients at the given times (UTC)."""
    return [build_event("created", occur_time=utc(time)) for time in times]


def count_events(
    analytics: Client, start: str, end: str, bucket: Bucket = Bucket.UNSPECIFIED
) -> dict[str, tuple[int, int, int]]:
    """Returns the registrations, updates and deletions by the start date of their bucket."""
    request = GetPatientStatisticsRequest(start=utc(start), end=utc(end), bucket=bucket)
    buckets = analytics.get_patient_statistics(request).buckets
    assert all(bucket.start_time.time() == datetime.min.time() for bucket in buckets)
    return {str(b.start_time.date()): (b.registrations, b.updates, b.deletions) for b in buckets}


def test_events_are_counted_by_type_and_day(analytics: Client, store_events: StoreEvents) -> None:
    day, next_day = utc("2001-05-01T09:00"), utc("2001-05-02T10:00")
    store_events(
        build_event("created", occur_time=day),
        build_event("created", occur_time=day),
        build_event("updated", occur_time=day),
        build_event("deleted", occur_time=next_day),
        build_event("undeleted", occur_time=next_day),
    )
    assert count_events(analytics, "2001-01-01", "2002-01-01") == {"2001-05-01": (2, 1, 0), "2001-05-02": (0, 0, 1)}


@pytest.mark.parametrize(
    ("bucket", "expected"),
    [
        (Bucket.UNSPECIFIED, {"2003-12-28": 1, "2003-12-29": 1, "2003-12-31": 1, "2004-01-01": 1, "2004-01-05": 2}),
        (Bucket.DAY, {"2003-12-28": 1, "2003-12-29": 1, "2003-12-31": 1, "2004-01-01": 1, "2004-01-05": 2}),
        (Bucket.WEEK, {"2003-12-22": 1, "2003-12-29": 3, "2004-01-05": 2}),
        (Bucket.MONTH, {"2003-12-01": 3, "2004-01-01": 3}),
    ],
)
def test_buckets_start_at_midnight_utc_on_days_mondays_and_firsts(
    analytics: Client, store_events: StoreEvents, bucket: Bucket, expected: dict[str, int]
) -> None:
    if not count_events(analytics, "2003-01-01", "2005-01-01"):
        sunday, monday = "2003-12-28T23:59:59.999999", "2003-12-29T00:00:00"
        new_year = ("2003-12-31T23:59:59.999999", "2004-01-01T00:00:00")
        next_monday = ("2004-01-05T00:00:00", "2004-01-05T23:59:59.999999")
        store_events(*build_creations(sunday, monday, *new_year, *next_monday))
    found = count_events(analytics, "2003-01-01", "2005-01-01", bucket)
    assert found == {day: (count, 0, 0) for day, count in expected.items()}
    assert list(found) == sorted(found), "oldest first"


def test_period_includes_its_start_and_excludes_its_end(analytics: Client, store_events: StoreEvents) -> None:
    store_events(*build_creations("2006-03-01T12:00:00", "2006-03-01T12:00:01", "2006-03-01T12:00:02"))
    assert count_events(analytics, "2006-03-01T12:00:00", "2006-03-01T12:00:02") == {"2006-03-01": (2, 0, 0)}
    assert count_events(analytics, "2006-03-01T12:00:00.000001", "2006-03-01T12:00:02.000001") == {
        "2006-03-01": (2, 0, 0)
    }
    assert count_events(analytics, "2006-03-01T12:00:00", "2006-03-01T12:00:00") == {}


def test_period_defaults_to_the_last_30_days(analytics: Client, store_events: StoreEvents) -> None:
    def count_registrations(**request: Any) -> int:
        return sum(
            b.registrations for b in analytics.get_patient_statistics(GetPatientStatisticsRequest(**request)).buckets
        )

    before, end = count_registrations(), utc("2007-06-30")
    now = datetime.now(UTC)
    store_events(*(build_event("created", occur_time=now - timedelta(days=days)) for days in (0, 29, 31)))
    store_events(*build_creations("2007-05-30", "2007-05-31", "2007-06-29"))
    assert count_registrations() == before + 2
    assert count_registrations(end=end) == 2


def test_start_after_the_end_is_rejected(analytics: Client) -> None:
    for request in (
        GetPatientStatisticsRequest(start=utc("2008-01-02"), end=utc("2008-01-01")),
        GetPatientStatisticsRequest(start=datetime.now(UTC) + timedelta(hours=1)),
    ):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
            analytics.get_patient_statistics(request)
        assert list(rejected.value.violations) == ["start"]


def test_first_and_last_representable_times_are_accepted(analytics: Client) -> None:
    first, last = utc("0001-01-01"), utc("9999-12-31T23:59:59.999999")
    assert not analytics.get_patient_statistics(GetPatientStatisticsRequest(end=first)).buckets
    assert not analytics.get_patient_statistics(GetPatientStatisticsRequest(start=last, end=last)).buckets
    assert analytics.get_patient_statistics(GetPatientStatisticsRequest(start=first, bucket=Bucket.MONTH)).as_of_time


@pytest.mark.parametrize("seconds", [10**12, -(10**12), 2**63 - 1])
def test_unrepresentable_time_is_rejected(analytics: Client, seconds: int) -> None:
    path = "/pulsetrack.analytics.v1.AnalyticsService/GetPatientStatistics"
    request = contract.message_class("pulsetrack.analytics.v1.GetPatientStatisticsRequest")()
    request.end.seconds = seconds  # type: ignore[attr-defined]
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        analytics.call(path, request.SerializeToString())
    assert list(rejected.value.violations) == ["end"]


def test_unknown_bucket_is_rejected(analytics: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        analytics.get_patient_statistics(GetPatientStatisticsRequest(bucket=Bucket(9)))
    assert list(rejected.value.violations) == ["bucket"]


def test_totals_reflect_the_current_state_of_patients(analytics: Client, store_events: StoreEvents) -> None:
    def totals() -> tuple[int, int]:
        found: PatientStatistics = analytics.get_patient_statistics(GetPatientStatisticsRequest())
        return found.total_patients, found.total_deleted

    (patients, deleted), leaving, returning = totals(), str(uuid4()), str(uuid4())
    store_events(build_event("created"), build_event("created", leaving), build_event("created", returning))
    assert totals() == (patients + 3, deleted)
    store_events(build_event("deleted", leaving, sequence=2), build_event("deleted", returning, sequence=2))
    assert totals() == (patients + 1, deleted + 2)
    store_events(build_event("undeleted", returning, sequence=3))
    assert totals() == (patients + 2, deleted + 1)


def test_response_contains_the_time_of_the_count(analytics: Client) -> None:
    before = datetime.now(UTC)
    response = analytics.get_patient_statistics(GetPatientStatisticsRequest(end=utc("2009-01-01")))
    assert before <= response.as_of_time <= datetime.now(UTC)
