"""GetPatientStatistics. Each test has a year of its own, as all share one database."""

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

Tell = Callable[..., None]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def created_at(*times: str) -> list[PatientEvent]:
    """Returns the creations of patients at these times (UTC)."""
    return [build_event("created", occur_time=at(time)) for time in times]


def counted(
    analytics: Client, start: str, end: str, bucket: Bucket = Bucket.UNSPECIFIED
) -> dict[str, tuple[int, int, int]]:
    """Returns the registrations, updates and deletions by the day on which their bucket begins."""
    request = GetPatientStatisticsRequest(start=at(start), end=at(end), bucket=bucket)
    buckets = analytics.get_patient_statistics(request).buckets
    assert all(bucket.start_time.time() == datetime.min.time() for bucket in buckets)
    return {str(b.start_time.date()): (b.registrations, b.updates, b.deletions) for b in buckets}


def test_what_happened_is_counted_by_kind_and_day(analytics: Client, tell: Tell) -> None:
    day, next_day = at("2001-05-01T09:00"), at("2001-05-02T10:00")
    tell(
        build_event("created", occur_time=day),
        build_event("created", occur_time=day),
        build_event("updated", occur_time=day),
        build_event("deleted", occur_time=next_day),
        build_event("undeleted", occur_time=next_day),
    )
    assert counted(analytics, "2001-01-01", "2002-01-01") == {"2001-05-01": (2, 1, 0), "2001-05-02": (0, 0, 1)}


@pytest.mark.parametrize(
    ("bucket", "expected"),
    [
        (Bucket.UNSPECIFIED, {"2003-12-28": 1, "2003-12-29": 1, "2003-12-31": 1, "2004-01-01": 1, "2004-01-05": 2}),
        (Bucket.DAY, {"2003-12-28": 1, "2003-12-29": 1, "2003-12-31": 1, "2004-01-01": 1, "2004-01-05": 2}),
        (Bucket.WEEK, {"2003-12-22": 1, "2003-12-29": 3, "2004-01-05": 2}),
        (Bucket.MONTH, {"2003-12-01": 3, "2004-01-01": 3}),
    ],
)
def test_buckets_begin_at_midnight_utc_weeks_on_monday_months_on_the_first(
    analytics: Client, tell: Tell, bucket: Bucket, expected: dict[str, int]
) -> None:
    if not counted(analytics, "2003-01-01", "2005-01-01"):
        sunday, monday = "2003-12-28T23:59:59.999999", "2003-12-29T00:00:00"
        new_year = ("2003-12-31T23:59:59.999999", "2004-01-01T00:00:00")
        next_monday = ("2004-01-05T00:00:00", "2004-01-05T23:59:59.999999")
        tell(*created_at(sunday, monday, *new_year, *next_monday))
    found = counted(analytics, "2003-01-01", "2005-01-01", bucket)
    assert found == {day: (count, 0, 0) for day, count in expected.items()}
    assert list(found) == sorted(found), "oldest first"


def test_the_start_is_counted_and_the_end_is_not(analytics: Client, tell: Tell) -> None:
    tell(*created_at("2006-03-01T12:00:00", "2006-03-01T12:00:01", "2006-03-01T12:00:02"))
    assert counted(analytics, "2006-03-01T12:00:00", "2006-03-01T12:00:02") == {"2006-03-01": (2, 0, 0)}
    assert counted(analytics, "2006-03-01T12:00:00.000001", "2006-03-01T12:00:02.000001") == {"2006-03-01": (2, 0, 0)}
    assert counted(analytics, "2006-03-01T12:00:00", "2006-03-01T12:00:00") == {}


def test_the_last_thirty_days_are_counted_unless_told_otherwise(analytics: Client, tell: Tell) -> None:
    def days_counted(**request: Any) -> int:
        return sum(
            b.registrations for b in analytics.get_patient_statistics(GetPatientStatisticsRequest(**request)).buckets
        )

    before, end = days_counted(), at("2007-06-30")
    now = datetime.now(UTC)
    tell(*(build_event("created", occur_time=now - timedelta(days=days)) for days in (0, 29, 31)))
    tell(*created_at("2007-05-30", "2007-05-31", "2007-06-29"))
    assert days_counted() == before + 2
    assert days_counted(end=end) == 2


def test_a_start_behind_the_end_is_refused(analytics: Client) -> None:
    for request in (
        GetPatientStatisticsRequest(start=at("2008-01-02"), end=at("2008-01-01")),
        GetPatientStatisticsRequest(start=datetime.now(UTC) + timedelta(hours=1)),
    ):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
            analytics.get_patient_statistics(request)
        assert list(refused.value.violations) == ["start"]


def test_the_first_and_the_last_times_that_there_are_may_be_asked_for(analytics: Client) -> None:
    first, last = at("0001-01-01"), at("9999-12-31T23:59:59.999999")
    assert not analytics.get_patient_statistics(GetPatientStatisticsRequest(end=first)).buckets
    assert not analytics.get_patient_statistics(GetPatientStatisticsRequest(start=last, end=last)).buckets
    assert analytics.get_patient_statistics(GetPatientStatisticsRequest(start=first, bucket=Bucket.MONTH)).as_of_time


@pytest.mark.parametrize("seconds", [10**12, -(10**12), 2**63 - 1])
def test_a_time_that_is_in_no_year_is_refused(analytics: Client, seconds: int) -> None:
    path = "/pulsetrack.analytics.v1.AnalyticsService/GetPatientStatistics"
    request = contract.message_class("pulsetrack.analytics.v1.GetPatientStatisticsRequest")()
    request.end.seconds = seconds  # type: ignore[attr-defined]
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        analytics.call(path, request.SerializeToString())
    assert list(refused.value.violations) == ["end"]


def test_an_unknown_bucket_is_refused(analytics: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        analytics.get_patient_statistics(GetPatientStatisticsRequest(bucket=Bucket(9)))
    assert list(refused.value.violations) == ["bucket"]


def test_the_totals_count_patients_as_they_are_now(analytics: Client, tell: Tell) -> None:
    def totals() -> tuple[int, int]:
        found: PatientStatistics = analytics.get_patient_statistics(GetPatientStatisticsRequest())
        return found.total_patients, found.total_deleted

    (patients, deleted), leaving, returning = totals(), str(uuid4()), str(uuid4())
    tell(build_event("created"), build_event("created", leaving), build_event("created", returning))
    assert totals() == (patients + 3, deleted)
    tell(build_event("deleted", leaving, sequence=2), build_event("deleted", returning, sequence=2))
    assert totals() == (patients + 1, deleted + 2)
    tell(build_event("undeleted", returning, sequence=3))
    assert totals() == (patients + 2, deleted + 1)


def test_the_answer_says_when_it_was_counted(analytics: Client) -> None:
    before = datetime.now(UTC)
    answer = analytics.get_patient_statistics(GetPatientStatisticsRequest(end=at("2009-01-01")))
    assert before <= answer.as_of_time <= datetime.now(UTC)
