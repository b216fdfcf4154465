"""Storage and validation of text."""

from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import GetPatientRequest
from services.common.text import BIDIRECTIONAL
from tests.harness.client import Client, Rejected, attempt
from tests.harness.sql import Sql
from tests.patient.factory import create_request, update_request

WHITE_SPACE = "\t\n\r\x85"
TEXTS = {
    "emoji": "👨\u200d👩\u200d👧 Ana 🇵🇹 ❤\ufe0f",
    "Persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "Sinhala": "\u0dc1\u0dca\u200d\u0dbb\u0dd3",
    "homographs": "\u0410n\u0430 Silv\u0430",
    "Hindi": "हिन्दी देवी",
    "Arabic": "مَرْيَم العلي",
    "Hebrew": "שלום",
    "Chinese": "王小明 𠮷野",
    "Vietnamese": "Nguyễn Thị Ánh",
    "markup": '<b>Robert"; DROP TABLE patients; --</b> &amp; ${x} %s \\n',
    "inner spaces": "Ana\u00a0 \u3000Silva",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_in_any_script_is_returned_unchanged(patients: Client, text: str) -> None:
    created = patients.create_patient(create_request(name=text, address=text, medical_record_number=text))
    got = patients.get_patient(GetPatientRequest(id=created.id))
    assert (got.name, got.address, got.medical_record_number) == (text, text, text)
    assert patients.update_patient(update_request(created, name=f"{text} II")).name == f"{text} II"


@pytest.mark.parametrize(
    ("sent", "stored"),
    [("Jose\u0301", "Jos\u00e9"), ("A\u030ase O\u0308", "\u00c5se \u00d6"), ("\u1112\u1161\u11ab", "\ud55c")],
)
def test_text_is_stored_trimmed_and_in_nfc(patients: Client, sent: str, stored: str) -> None:
    created = patients.create_patient(create_request(name=sent, address=f" {sent}\u3000"))
    assert (created.name, created.address) == (stored, stored)


def test_homographic_record_numbers_are_distinct(patients: Client) -> None:
    patients.create_patient(create_request(medical_record_number="A-100"))
    patients.create_patient(create_request(medical_record_number="\u0410-100"))


def test_record_numbers_that_are_equal_in_nfc_conflict(patients: Client) -> None:
    patients.create_patient(create_request(medical_record_number="\u00e9-1"))
    with pytest.raises(Rejected, match="ALREADY_EXISTS RECORD_NUMBER_ALREADY_EXISTS"):
        patients.create_patient(create_request(medical_record_number="e\u0301-1"))


@pytest.mark.parametrize("field", ["name", "address", "medical_record_number", "phone", "email"])
@pytest.mark.parametrize(
    "control", ["\x00", "\x07", "\t", "\n", "\r", "\x1b", "\x1f", "\x7f", "\x85", "\u2028", "\u2029"]
)
def test_control_characters_are_rejected(patients: Client, field: str, control: str) -> None:
    good = getattr(create_request(medical_record_number="M-1", phone="112 112").patient, field)
    within, around = [f"{good[:2]}{control}{good[2:]}"], [f"{good}{control}", f"{control}{good}"]
    if field == "address" and control in "\r\n\u2028\u2029":
        within = []  # a line break
    for text in within if control in f"{WHITE_SPACE}\u2028\u2029" else within + around:
        with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
            patients.create_patient(create_request(**{field: text}))
        assert list(rejected.value.violations) == [f"patient.{field}"]


@pytest.mark.parametrize("space", [*WHITE_SPACE, "\u00a0", "\u2028", "\u3000"], ids=ascii)
def test_white_space_around_text_is_removed(patients: Client, space: str) -> None:
    good = create_request(medical_record_number=f"M-{ord(space)}", phone="112 112").patient
    fields = ("name", "email", "address", "medical_record_number", "phone", "date_of_birth")
    sent = {name: f"{space}{getattr(good, name)}{space}" for name in fields}
    created = patients.create_patient(create_request(**sent))
    assert [getattr(created, name) for name in fields] == [getattr(good, name) for name in fields]


@pytest.mark.parametrize("field", ["name", "email", "address", "date_of_birth"])
@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u3000"], ids=ascii)
def test_required_text_of_white_space_is_rejected(patients: Client, field: str, text: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.create_patient(create_request(**{field: text}))
    assert list(rejected.value.violations) == [f"patient.{field}"]


@pytest.mark.parametrize("sent", ["1 High St\nPorto", "1 High St\r\nPorto", "1 High St\rPorto\n"], ids=ascii)
def test_address_keeps_line_breaks_as_line_feeds(patients: Client, sent: str) -> None:
    created = patients.create_patient(create_request(address=sent))
    assert created.address == "1 High St\nPorto"
    assert patients.get_patient(GetPatientRequest(id=created.id)).address == "1 High St\nPorto"


@pytest.mark.parametrize("length", [60, 100])
def test_decomposed_letters_count_once(patients: Client, length: int) -> None:
    assert patients.create_patient(create_request(name="e\u0301" * length)).name == "\u00e9" * length


PHONES = [
    "112",
    "+351 21 000 000",
    "(555) 123-4567",
    "+1-555-123-4567 ext. 89",
    "555-1234 x89",
    "+1-555-123-4567;ext=1",
    "+1 555 123 4567, Ext 89",
    "0211/123.456 extension 7",
    "555 1234 #5",
]


@pytest.mark.parametrize("phone", PHONES)
def test_phone_number_is_accepted(patients: Client, phone: str) -> None:
    assert patients.create_patient(create_request(phone=phone)).phone == phone


@pytest.mark.parametrize(
    "phone", ["(((", "+--", "+1", "12", "ext. 89", "x89", "555-1234 ext.", "555 1234 x1 x2", "1" * 51]
)
def test_text_that_is_not_a_phone_number_is_rejected(patients: Client, phone: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.create_patient(create_request(phone=phone))
    assert list(rejected.value.violations) == ["patient.phone"]


def test_internationalized_email_equals_its_ascii_form(patients: Client) -> None:
    created = patients.create_patient(create_request(email="ana@m\u00fcnchen.example"))
    assert created.email == "ana@m\u00fcnchen.example"
    for same in ("Ana@xn--mnchen-3ya.example", "ana@MU\u0308NCHEN.example"):
        with pytest.raises(Rejected, match="ALREADY_EXISTS EMAIL_ALREADY_EXISTS"):
            patients.create_patient(create_request(email=same))


def test_retry_in_another_unicode_form_is_the_same_request(patients: Client) -> None:
    email = f"{uuid4()}@clinic.test"
    first = create_request(name="Jos\u00e9", address="1 High St\nPorto", email=email)
    again = create_request(name=" Jose\u0301", address="1 High St\r\nPorto ", email=f" {email}")
    first.request_id = again.request_id = str(uuid4())
    assert patients.create_patient(again) == patients.create_patient(first)


BIDI = ["\u202a", "\u202e", "\u2066", "\u2069", "\u200e", "\u200f", "\u061c"]
INVISIBLE = ["\u200b", "\u3164", "\u2800", "\u00ad", "\u200d\u2800 \ufeff", "\U000e0041"]
WRONG = {**dict.fromkeys(INVISIBLE, "must contain a visible character"), **{f"Ana{c}": BIDIRECTIONAL for c in BIDI}}


@pytest.mark.parametrize("field", ["name", "address", "medical_record_number"])
@pytest.mark.parametrize("text", WRONG, ids=ascii)
def test_invisible_and_bidirectional_text_is_rejected(patients: Client, field: str, text: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.create_patient(create_request(**{field: text}))
    assert rejected.value.violations == {f"patient.{field}": WRONG[text]}


def test_update_validates_changed_text_only(patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    sql("UPDATE patients SET name = $2 WHERE id = $1", created.id, "Ana\u202e")  # stored before the rule existed
    assert patients.update_patient(update_request(created, phone="112")).name == "Ana\u202e"
    with pytest.raises(Rejected, match="FIELDS_INVALID") as rejected:
        patients.update_patient(update_request(created, name="Eva\u202e"))
    assert rejected.value.violations == {"patient.name": BIDIRECTIONAL}


@pytest.mark.parametrize(
    "same", ["mrn-77a", "\uff2d\uff32\uff2e-\uff17\uff17\uff21", "MRN\u200b-77A", "M\u00adRN-77A\u2060"]
)
def test_record_numbers_that_differ_in_case_width_or_invisible_text_conflict(patients: Client, same: str) -> None:
    attempt(lambda: patients.create_patient(create_request(medical_record_number="MRN-77A")))
    with pytest.raises(Rejected, match="ALREADY_EXISTS RECORD_NUMBER_ALREADY_EXISTS"):
        patients.create_patient(create_request(medical_record_number=same))
