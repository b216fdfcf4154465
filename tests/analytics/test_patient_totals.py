"""GetPatientStatistics: the sexes and ages of the current patients."""

from calendar import isleap
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from gen.pulsetrack.analytics.v1 import GetPatientStatisticsRequest, PatientStatistics
from gen.pulsetrack.patient.v1 import Sex
from tests.analytics.factory import build_event
from tests.harness.client import Client

StoreEvents = Callable[..., None]


def get_statistics(analytics: Client) -> PatientStatistics:
    response: PatientStatistics = analytics.get_patient_statistics(GetPatientStatisticsRequest())
    return response


def count_sexes(analytics: Client) -> Counter[Sex]:
    return Counter({each.sex: each.count for each in get_statistics(analytics).sexes})


def count_bands(analytics: Client) -> Counter[tuple[int, int]]:
    return Counter({(each.from_age, each.to_age): each.count for each in get_statistics(analytics).age_bands})


def birth_date(years_ago: int, *, days: int = 0) -> str:
    """Returns the date a number of years and days before today (UTC)."""
    today = datetime.now(UTC).date()
    year = today.year - years_ago
    leap_day = (today.month, today.day) == (2, 29)
    birthday = date(year, 3, 1) if leap_day and not isleap(year) else today.replace(year=year)
    return (birthday - timedelta(days=days)).isoformat()


def test_sexes_are_counted_from_the_newest_event_of_each_patient(analytics: Client, store_events: StoreEvents) -> None:
    before, changing, deleted = count_sexes(analytics), str(uuid4()), str(uuid4())
    store_events(
        build_event("created", sex=Sex.FEMALE),
        build_event("created", sex=Sex.OTHER),
        build_event("updated", changing, sequence=2, sex=Sex.FEMALE),
        build_event("created", changing, sex=Sex.MALE),
        build_event("created", deleted, sex=Sex.MALE),
        build_event("deleted", deleted, sequence=2, sex=Sex.MALE),
    )
    assert count_sexes(analytics) - before == Counter({Sex.FEMALE: 2, Sex.OTHER: 1})
    store_events(build_event("undeleted", deleted, sequence=3, sex=Sex.MALE))
    assert count_sexes(analytics) - before == Counter({Sex.FEMALE: 2, Sex.OTHER: 1, Sex.MALE: 1})


@pytest.mark.parametrize(
    ("years_ago", "days", "band"),
    [
        (0, 0, (0, 9)),
        (10, -1, (0, 9)),
        (10, 0, (10, 19)),
        (40, -1, (30, 39)),
        (89, 0, (80, 89)),
        (90, -1, (80, 89)),
        (90, 0, (90, 0)),
        (-1, 0, (0, 9)),
    ],
)
def test_patient_is_counted_in_the_band_of_their_age(
    analytics: Client, store_events: StoreEvents, years_ago: int, days: int, band: tuple[int, int]
) -> None:
    before = count_bands(analytics)
    store_events(build_event("created", date_of_birth=birth_date(years_ago, days=days)))
    assert count_bands(analytics) - before == Counter({band: 1})


def test_patient_born_in_the_year_1_is_counted_in_the_last_band(analytics: Client, store_events: StoreEvents) -> None:
    before = count_bands(analytics)
    store_events(build_event("created", date_of_birth="0001-01-01"))
    assert count_bands(analytics) - before == Counter({(90, 0): 1})


@pytest.mark.parametrize("month", ["", "-01"])
def test_year_or_month_of_birth_counts_as_its_first_day(
    analytics: Client, store_events: StoreEvents, month: str
) -> None:
    before, year = count_bands(analytics), datetime.now(UTC).year
    store_events(build_event("created", date_of_birth=f"{year - 40}{month}"))
    assert count_bands(analytics) - before == Counter({(40, 49): 1})


@pytest.mark.parametrize("date_of_birth", ["", "yesterday", "2001-02-30", "2001-13"])
def test_patient_without_date_of_birth_is_counted_in_no_band(
    analytics: Client, store_events: StoreEvents, date_of_birth: str
) -> None:
    before, patients = count_bands(analytics), get_statistics(analytics).total_patients
    store_events(build_event("created", date_of_birth=date_of_birth))
    assert count_bands(analytics) == before
    assert get_statistics(analytics).total_patients == patients + 1


def test_unknown_sex_is_counted_under_its_number(analytics: Client, store_events: StoreEvents) -> None:
    before = count_sexes(analytics)
    store_events(build_event("created", sex=Sex(2**31 - 1)))
    assert count_sexes(analytics) - before == Counter({Sex(2**31 - 1): 1})


def test_counts_by_sex_add_up_to_the_total(analytics: Client, store_events: StoreEvents) -> None:
    store_events(
        build_event("created", sex=Sex.MALE, date_of_birth=birth_date(50)), build_event("deleted", sex=Sex.MALE)
    )
    found = get_statistics(analytics)
    assert sum(each.count for each in found.sexes) == found.total_patients
    assert [each.sex for each in found.sexes] == sorted(each.sex for each in found.sexes)
    assert [each.from_age for each in found.age_bands] == sorted(each.from_age for each in found.age_bands)
