"""GetPatientStatistics: the sexes and ages of the patients that there are."""

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

Tell = Callable[..., None]


def counted(analytics: Client) -> PatientStatistics:
    answer: PatientStatistics = analytics.get_patient_statistics(GetPatientStatisticsRequest())
    return answer


def sexes(analytics: Client) -> Counter[Sex]:
    return Counter({each.sex: each.count for each in counted(analytics).sexes})


def bands(analytics: Client) -> Counter[tuple[int, int]]:
    return Counter({(each.from_age, each.to_age): each.count for each in counted(analytics).age_bands})


def born(years_ago: int, *, days: int = 0) -> str:
    """Returns the day so many years and days before today (UTC)."""
    today = datetime.now(UTC).date()
    year = today.year - years_ago
    leap_day = (today.month, today.day) == (2, 29)
    birthday = date(year, 3, 1) if leap_day and not isleap(year) else today.replace(year=year)
    return (birthday - timedelta(days=days)).isoformat()


def test_the_sexes_of_patients_are_counted_as_their_newest_event_says(analytics: Client, tell: Tell) -> None:
    before, changing, leaving = sexes(analytics), str(uuid4()), str(uuid4())
    tell(
        build_event("created", sex=Sex.FEMALE),
        build_event("created", sex=Sex.OTHER),
        build_event("updated", changing, sequence=2, sex=Sex.FEMALE),
        build_event("created", changing, sex=Sex.MALE),
        build_event("created", leaving, sex=Sex.MALE),
        build_event("deleted", leaving, sequence=2, sex=Sex.MALE),
    )
    assert sexes(analytics) - before == Counter({Sex.FEMALE: 2, Sex.OTHER: 1})
    tell(build_event("undeleted", leaving, sequence=3, sex=Sex.MALE))
    assert sexes(analytics) - before == Counter({Sex.FEMALE: 2, Sex.OTHER: 1, Sex.MALE: 1})


@pytest.mark.parametrize(
    ("date_of_birth", "band"),
    [
        (born(0), (0, 9)),
        (born(10, days=-1), (0, 9)),
        (born(10), (10, 19)),
        (born(40, days=-1), (30, 39)),
        (born(89), (80, 89)),
        (born(90, days=-1), (80, 89)),
        (born(90), (90, 0)),
        ("0001-01-01", (90, 0)),
        (born(-1), (0, 9)),
    ],
)
def test_a_patient_is_in_the_band_of_its_age(
    analytics: Client, tell: Tell, date_of_birth: str, band: tuple[int, int]
) -> None:
    before = bands(analytics)
    tell(build_event("created", date_of_birth=date_of_birth))
    assert bands(analytics) - before == Counter({band: 1})


@pytest.mark.parametrize("date_of_birth", ["", "yesterday", "2001-02-30"])
def test_without_a_day_of_birth_a_patient_is_counted_but_in_no_band(
    analytics: Client, tell: Tell, date_of_birth: str
) -> None:
    before, patients = bands(analytics), counted(analytics).total_patients
    tell(build_event("created", date_of_birth=date_of_birth))
    assert bands(analytics) == before
    assert counted(analytics).total_patients == patients + 1


def test_a_sex_that_is_unknown_to_analytics_is_counted_under_its_number(analytics: Client, tell: Tell) -> None:
    before = sexes(analytics)
    tell(build_event("created", sex=Sex(2**31 - 1)))
    assert sexes(analytics) - before == Counter({Sex(2**31 - 1): 1})


def test_the_parts_add_up_to_the_total(analytics: Client, tell: Tell) -> None:
    tell(build_event("created", sex=Sex.MALE, date_of_birth=born(50)), build_event("deleted", sex=Sex.MALE))
    found = counted(analytics)
    assert sum(each.count for each in found.sexes) == found.total_patients
    assert [each.sex for each in found.sexes] == sorted(each.sex for each in found.sexes)
    assert [each.from_age for each in found.age_bands] == sorted(each.from_age for each in found.age_bands)
