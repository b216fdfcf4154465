"""Names, dates and addresses as people write them, at every surface."""

from datetime import UTC, datetime, timedelta, timezone
from unicodedata import normalize
from uuid import uuid4

import pytest

from tests.e2e.sessions import PASSWORD, a_patient
from tests.e2e.surfaces import Surface

LATEST_ZONE, EARLIEST_ZONE = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
IMPOSSIBLE_DATES = [
    ("registeredDate", "1980-02-28"),
    ("registeredDate", "9999-12-31"),
    ("registeredDate", "0000-01-01"),
    ("dateOfBirth", "9999-12-31"),
    ("dateOfBirth", "1980-02-30"),
    ("dateOfBirth", "1980-2"),
    ("dateOfBirth", "1980-13"),
]
WITHOUT_VISIBLE_CHARACTERS = ["\u200b", "\u3164", " \u200b\u3164 "]


@pytest.mark.parametrize("zone", [LATEST_ZONE, UTC, EARLIEST_ZONE], ids=["UTC+14", "UTC", "UTC-12"])
def test_birth_today_is_accepted(api: Surface, zone: timezone) -> None:
    today = datetime.now(zone).date().isoformat()
    created = api("CreatePatient", patient=a_patient(dateOfBirth=today))
    assert (created.reason, created.body.get("dateOfBirth")) == ("", today)
    assert created.body["registeredDate"] >= today


@pytest.mark.parametrize("born", ["1980", "1980-02"])
def test_year_or_month_of_birth_is_returned_as_it_was_sent(api: Surface, born: str) -> None:
    created = api("CreatePatient", patient=a_patient(dateOfBirth=born))
    assert (created.reason, created.body.get("dateOfBirth")) == ("", born)
    assert api("GetPatient", id=created.body["id"]).body == created.body


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


@pytest.mark.parametrize(
    ("sent", "stored"),
    [("e\u0301" * 60, "\u00e9" * 60), (f" {'a' * 100}\u3000", "a" * 100), ("\nJose\u0301 ", "Jos\u00e9")],
    ids=["60 decomposed letters", "100 letters in white space", "both"],
)
def test_text_is_normalized_before_it_is_validated(api: Surface, sent: str, stored: str) -> None:
    created = api("CreatePatient", patient=a_patient(name=sent))
    assert (created.reason, created.body.get("name")) == ("", stored)
    assert api("GetPatient", id=created.body["id"]).body["name"] == stored


def test_email_is_trimmed_in_every_method(api: Surface) -> None:
    email = f"{uuid4().hex}@x.test"
    created = api("CreatePatient", patient=a_patient(email=f" {email} "))
    assert created.body["email"] == email
    again = api("CreatePatient", patient=a_patient(email=f"{email}\u00a0"))
    assert (again.code, again.reason) == ("ALREADY_EXISTS", "EMAIL_ALREADY_EXISTS")
    user = api("SignUp", email=f" {email} ", username=f" {uuid4().hex} ", password=PASSWORD)
    assert user.body["email"] == email
    for sent in (email, f" {email} "):
        assert api("Login", email=sent, password=PASSWORD).body["tokenType"] == "Bearer"


def test_password_is_the_same_in_another_unicode_form(api: Surface) -> None:
    email, password = f"{uuid4().hex}@x.test", f"caf\u00e9 \u00fcber {PASSWORD}"
    assert not api("SignUp", email=email, username=uuid4().hex, password=normalize("NFD", password)).reason
    assert api("Login", email=email, password=normalize("NFC", password)).body["tokenType"] == "Bearer"


@pytest.mark.parametrize("name", ["\u2800", "\u00ad", "\uffff", "\ufdd0"], ids=ascii)
def test_name_of_invisible_characters_is_rejected(api: Surface, name: str) -> None:
    rejected = api("CreatePatient", patient=a_patient(name=name))
    assert (rejected.code, rejected.reason, len(rejected.violations)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", 1)


@pytest.mark.parametrize("disguise", ["\u0430", "\uff41", "A"], ids=ascii)
def test_username_that_looks_like_another_is_rejected(api: Surface, disguise: str) -> None:
    username = f"ana{uuid4().int % 10**12}"
    for name, code in ((username, "OK"), (disguise + username[1:], "ALREADY_EXISTS")):
        assert api("SignUp", email=f"{uuid4().hex}@x.test", username=name, password=PASSWORD).code == code


def test_internationalized_email_equals_its_ascii_form(api: Surface) -> None:
    name = uuid4().hex
    unicode_form, ascii_form = f"{name}@m\u00fcnchen.de", f"{name}@xn--mnchen-3ya.de"
    assert api("CreatePatient", patient=a_patient(email=unicode_form)).body["email"] == unicode_form
    assert api("CreatePatient", patient=a_patient(email=ascii_form)).reason == "EMAIL_ALREADY_EXISTS"
    assert not api("SignUp", email=ascii_form, username=uuid4().hex, password=PASSWORD).reason
    assert api("Login", email=unicode_form, password=PASSWORD).body["tokenType"] == "Bearer"


def test_address_keeps_line_breaks(api: Surface) -> None:
    created = api("CreatePatient", patient=a_patient(address="1 High Street\r\nFlat 2\rPorto\n"))
    assert created.body["address"] == "1 High Street\nFlat 2\nPorto"


@pytest.mark.parametrize("phone", ["+1-555-123-4567 ext. 89", "555-1234 x89", "+15551234567;ext=1"])
def test_phone_number_may_have_an_extension(api: Surface, phone: str) -> None:
    assert api("CreatePatient", patient=a_patient(phone=phone)).body["phone"] == phone


def test_phone_number_has_digits(api: Surface) -> None:
    rejected = api("CreatePatient", patient=a_patient(phone="((("))
    assert (rejected.code, rejected.reason, len(rejected.violations)) == ("INVALID_ARGUMENT", "FIELDS_INVALID", 1)
