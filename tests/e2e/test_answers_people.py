"""Names, dates and addresses as people write them, at every surface."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.e2e.sessions import a_patient
from tests.e2e.surfaces import Surface

LATEST_ZONE, EARLIEST_ZONE = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
IMPOSSIBLE_DATES = [
    ("registeredDate", "1980-02-28"),
    ("registeredDate", "9999-12-31"),
    ("registeredDate", "0000-01-01"),
    ("dateOfBirth", "9999-12-31"),
    ("dateOfBirth", "1980-02-30"),
    ("dateOfBirth", "1980"),
    ("dateOfBirth", "1980-02"),
]
WITHOUT_VISIBLE_CHARACTERS = ["\u200b", "\u3164", " \u200b\u3164 "]


@pytest.mark.parametrize("zone", [LATEST_ZONE, UTC, EARLIEST_ZONE], ids=["UTC+14", "UTC", "UTC-12"])
def test_birth_today_is_accepted(api: Surface, zone: timezone) -> None:
    today = datetime.now(zone).date().isoformat()
    created = api("CreatePatient", patient=a_patient(dateOfBirth=today))
    assert (created.reason, created.body.get("dateOfBirth")) == ("", today)
    assert created.body["registeredDate"] >= today


@pytest.mark.parametrize(("field", "day"), IMPOSSIBLE_DATES)
def test_impossible_date_is_rejected(api: Surface, field: str, day: str) -> None:
    created = api("CreatePatient", patient=a_patient()).body
    mask = {} if api.name == "REST" else {"updateMask": field}
    for rejected in (
        api("CreatePatient", patient=a_patient(**{field: day})),
        api("UpdatePatient", patient={"id": created["id"], field: day}, **mask),
    ):
        assert (rejected.code, rejected.reason, len(rejected.violations)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", 1)
    assert api("GetPatient", id=created["id"]).body == created


@pytest.mark.parametrize("text", WITHOUT_VISIBLE_CHARACTERS, ids=ascii)
@pytest.mark.parametrize("field", ["name", "address", "medicalRecordNumber"])
def test_text_without_visible_characters_is_rejected(api: Surface, field: str, text: str) -> None:
    rejected = api("CreatePatient", patient=a_patient(**{field: text}))
    assert (rejected.code, rejected.reason, len(rejected.violations)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", 1)
