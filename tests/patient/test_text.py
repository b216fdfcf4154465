"""Storage and validation of text."""

import pytest

from gen.pulsetrack.patient.v1 import GetPatientRequest
from services.common.text import BIDIRECTIONAL
from tests.harness.client import Client, Rejected, attempt
from tests.harness.sql import Sql
from tests.patient.factory import create_request, update_request

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
@pytest.mark.parametrize("control", ["\x00", "\x07", "\t", "\n", "\r", "\x1b", "\x7f", "\x85"])
def test_control_characters_are_rejected(patients: Client, field: str, control: str) -> None:
    good = getattr(create_request(medical_record_number="M-1", phone="112 112").patient, field)
    for text in (f"{good}{control}", f"{control}{good}", f"{good[:3]}{control}{good[3:]}"):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
            patients.create_patient(create_request(**{field: text}))
        assert list(rejected.value.violations) == [f"patient.{field}"]


def test_length_limit_applies_to_the_normalized_text(patients: Client) -> None:
    letter = "\u0958"  # two characters in NFC
    assert len(patients.create_patient(create_request(name=letter * 50)).name) == 100
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.create_patient(create_request(name=letter * 51))
    assert list(rejected.value.violations) == ["patient.name"]
    assert patients.create_patient(create_request(name="\U0001f600" * 100)).name == "\U0001f600" * 100


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
