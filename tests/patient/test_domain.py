"""Unit tests of the decisions about patient records."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from gen.pulsetrack.patient.v1 import Patient, Sex
from services.common.errors import FieldsInvalid
from services.patient.domain import (
    PATIENT_CODEC,
    advance_row,
    create_row,
    has_changes,
    is_calendar_date,
    is_relevant_to_billing,
    latest_date,
    merge_patient,
    normalize_patient,
    to_columns,
    to_patient,
    validate_patient,
)

TODAY = date(2026, 1, 31)
NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
ID = UUID(int=7)
ANA = Patient(
    name="Ana Silva",
    email="ana@clinic.test",
    address="1 High Street",
    date_of_birth="1980-02-29",
    registered_date="2020-01-31",
    phone="112",
    sex=Sex.FEMALE,
    medical_record_number="MRN-1",
)


def find_violations(patient: Patient, current: Patient | None = None) -> Mapping[str, str]:
    """Returns the violations that validate_patient reports."""
    try:
        validate_patient(patient, today=TODAY, current=current)
    except FieldsInvalid as failure:
        return failure.violations
    return {}


def test_normalize_sets_the_registered_date_only_if_it_is_empty() -> None:
    absent = normalize_patient(replace(ANA, registered_date=""), default_registered_date=TODAY)
    present = normalize_patient(ANA, default_registered_date=TODAY)
    assert (absent.registered_date, present.registered_date) == ("2026-01-31", "2020-01-31")


def test_normalize_clears_output_only_fields() -> None:
    patient = replace(ANA, id=str(ID), etag="3", create_time=NOW, update_time=NOW, delete_time=NOW)
    assert normalize_patient(patient, default_registered_date=TODAY) == ANA


def test_valid_patient_has_no_violations() -> None:
    assert find_violations(ANA) == {}
    assert find_violations(replace(ANA, phone="", medical_record_number="", sex=Sex.UNSPECIFIED)) == {}


@pytest.mark.parametrize("field", ["name", "email", "address", "date_of_birth"])
def test_required_fields_must_have_values(field: str) -> None:
    patient = replace(ANA, **{field: ""})  # type: ignore[arg-type]
    assert find_violations(patient) == {f"patient.{field}": "must be set"}


@pytest.mark.parametrize(
    ("field", "value", "violation"),
    [
        ("address", "\u200b", "must contain a visible character"),
        ("date_of_birth", "1980-02-30", "must be a calendar date, as YYYY-MM-DD, YYYY-MM or YYYY"),
        ("registered_date", "2020-13-01", "must be a calendar date, as YYYY-MM-DD"),
        ("date_of_birth", "2026-02-01", "must not be in the future"),
        ("registered_date", "2026-02-01", "must not be in the future"),
        ("registered_date", "9999-12-31", "must not be in the future"),
        ("registered_date", "1980-02-28", "must not be before the date of birth"),
        ("date_of_birth", "2999-02-30", "must be a calendar date, as YYYY-MM-DD, YYYY-MM or YYYY"),
    ],
)
def test_violation_names_the_field_and_the_rule(field: str, value: str, violation: str) -> None:
    patient = replace(ANA, **{field: value})  # type: ignore[arg-type]
    assert find_violations(patient) == {f"patient.{field}": violation}


def test_birth_today_is_valid() -> None:
    assert find_violations(replace(ANA, date_of_birth=TODAY.isoformat(), registered_date=TODAY.isoformat())) == {}


def test_today_is_the_latest_date_anywhere() -> None:
    assert latest_date(datetime(2026, 1, 31, 9, 59, tzinfo=UTC)) == date(2026, 1, 31)
    assert latest_date(datetime(2026, 1, 31, 10, 0, tzinfo=UTC)) == date(2026, 2, 1)


def test_default_registered_date_is_not_before_the_birth() -> None:
    born_tomorrow_in_utc = replace(ANA, date_of_birth="2026-02-01", registered_date="")
    assert normalize_patient(born_tomorrow_in_utc, default_registered_date=TODAY).registered_date == "2026-02-01"


def test_unchanged_dates_are_exempt_from_the_date_rules() -> None:
    stored = replace(ANA, registered_date="1979-01-01")
    assert find_violations(replace(stored, phone="113"), current=stored) == {}
    changed = replace(stored, registered_date="1979-01-02")
    assert list(find_violations(changed, current=stored)) == ["patient.registered_date"]


@pytest.mark.parametrize("registered", ["", "1970-01-01"])
def test_invalid_date_of_birth_is_the_only_violation(registered: str) -> None:
    patient = replace(ANA, date_of_birth="2026-13-01", registered_date=registered)
    normalized = normalize_patient(patient, default_registered_date=TODAY)
    assert find_violations(normalized) == {
        "patient.date_of_birth": "must be a calendar date, as YYYY-MM-DD, YYYY-MM or YYYY"
    }


def test_all_violations_are_reported_together() -> None:
    patient = replace(ANA, name="", address="Ana\u202e", date_of_birth="2999-01-01")
    assert list(find_violations(patient)) == ["patient.name", "patient.address", "patient.date_of_birth"]


def test_unchanged_text_is_exempt_from_the_character_rules() -> None:
    stored = replace(ANA, name="Ana\u202e")
    assert find_violations(replace(stored, phone="113"), current=stored) == {}
    assert list(find_violations(replace(stored, name="Eva\u202e"), current=stored)) == ["patient.name"]


def test_merge_sets_the_fields_of_the_mask() -> None:
    change = Patient(name="Ana Costa", phone="999")
    assert merge_patient(ANA, change, ["name"], today=TODAY) == replace(ANA, name="Ana Costa")
    assert merge_patient(ANA, change, None, today=TODAY) == replace(ANA, name="Ana Costa", phone="999")
    assert merge_patient(ANA, change, ["phone", "address"], today=TODAY) == replace(ANA, phone="999", address="")


def test_merge_ignores_output_only_fields() -> None:
    stored = replace(ANA, id=str(ID), etag="3")
    change = Patient(id="another", etag="4", name="Ana Costa")
    for mask in (None, ["id", "etag", "name"]):
        assert merge_patient(stored, change, mask, today=TODAY) == replace(stored, name="Ana Costa")


def test_merge_rejects_unknown_paths() -> None:
    with pytest.raises(FieldsInvalid) as failure:
        merge_patient(ANA, ANA, ["name", "surname"], today=TODAY)
    assert failure.value.violations == {"update_mask": "must not contain fields that cannot be updated: surname"}


def test_keys_ignore_case() -> None:
    columns = to_columns(replace(ANA, name="Ana WEISS", email="Ana@Clinic.test"))
    assert columns["email_key"] == "ana@clinic.test"
    assert columns["search_key"] == "ana weiss\nana@clinic.test\nmrn-1"


def test_absent_record_number_is_null() -> None:
    assert to_columns(replace(ANA, medical_record_number=""))["medical_record_number"] is None


def test_row_and_patient_round_trip() -> None:
    assert to_patient(create_row(ANA, ID, NOW)) == replace(
        ANA, id=str(ID), etag="1", create_time=NOW, update_time=NOW, delete_time=None
    )


def test_advanced_row_increments_the_sequence() -> None:
    later = datetime(2026, 2, 1, tzinfo=UTC)
    row = create_row(ANA, ID, NOW)
    deleted = advance_row(row, later, delete_time=later)
    changes = {"sequence": 2, "update_time": later, "delete_time": later}
    assert {**deleted, "message": b"", "message_sequence": 0} == row | changes | {"message": b"", "message_sequence": 0}


def test_row_contains_its_message() -> None:
    row = advance_row(create_row(ANA, ID, NOW), datetime(2026, 2, 1, tzinfo=UTC), phone="112")
    assert PATIENT_CODEC.loads(row["message"]) == to_patient(row)
    assert row["message_sequence"] == row["sequence"] == 2


@pytest.mark.parametrize(
    ("fields", "changed", "relevant"),
    [
        ({}, False, False),
        ({"phone": "999"}, True, False),
        ({"name": "Ana Costa"}, True, True),
        ({"email": "costa@clinic.test"}, True, True),
    ],
)
def test_billing_receives_updates_of_the_fields_that_it_copies(
    fields: dict[str, Any], *, changed: bool, relevant: bool
) -> None:
    row = create_row(ANA, ID, NOW)
    columns = to_columns(replace(ANA, **fields))
    assert has_changes(row, columns) is changed
    assert is_relevant_to_billing(advance_row(row, NOW, **columns), row) is relevant


def test_billing_receives_changes_without_a_previous_row() -> None:
    assert is_relevant_to_billing(create_row(ANA, ID, NOW), None)


@pytest.mark.parametrize(
    ("text", "expected"), [("1980-02-29", True), ("1981-02-29", False), ("1980-13-01", False), ("", False)]
)
def test_calendar_dates(text: str, *, expected: bool) -> None:
    assert is_calendar_date(text) is expected
