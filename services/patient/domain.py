"""Decisions about patient records that need no database."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from gen.pulsetrack.patient.v1 import AccessEvent, Patient, Sex
from services.common import emails
from services.common.audit.tables import split_call
from services.common.errors import FieldsInvalid
from services.common.periods import format_period, parse_first_day, parse_period
from services.common.protobuf import codec, contract
from services.common.protobuf.masks import ALL, EMPTY_UPDATE, find_mask_violation, select_updated_fields
from services.common.protobuf.violations import NOT_A_DATE, NOT_A_PARTIAL_DATE, REQUIRED
from services.common.text import find_violation, fold_case

PATIENT_CODEC = codec.codec_of(Patient)

_DESCRIPTOR = contract.message_class("pulsetrack.patient.v1.Patient").DESCRIPTOR
_REQUIRED = contract.required_fields(_DESCRIPTOR)
_READ_ONLY = {*contract.output_only_fields(_DESCRIPTOR), "etag"}
_WRITABLE = tuple(field.name for field in _DESCRIPTOR.fields if field.name not in _READ_ONLY)
_TEXTS = ("name", "email", "address", "phone", "medical_record_number")
_DATES: Mapping[str, tuple[Callable[[str], date], str]] = {
    "date_of_birth": (parse_first_day, NOT_A_PARTIAL_DATE),
    "registered_date": (date.fromisoformat, NOT_A_DATE),
}
"""The functions that parse dates, and the violations of those that they cannot parse."""
_EARLIEST_TIME_ZONE = timedelta(hours=14)
_COPIED_BY_BILLING = ("name", "email", "restricted")


IN_FUTURE = "must not be in the future"
BEFORE_BIRTH = "must not be before the date of birth"


def latest_date(now: datetime) -> date:
    """Returns today's date in UTC+14, the latest date anywhere: a date up to it is not in the future."""
    return (now + _EARLIEST_TIME_ZONE).date()


def normalize_patient(patient: Patient, *, default_registered_date: date) -> Patient:
    """Returns a patient as it is stored: the registered date set, output-only fields cleared.

    A patient born on a date that has not begun in UTC is registered on that date by default.
    """
    values = {name: getattr(patient, name) for name in _WRITABLE}
    default = default_registered_date.isoformat()
    with suppress(ValueError):
        default = max(default, parse_first_day(patient.date_of_birth).isoformat())
    values["registered_date"] = values["registered_date"] or default
    return Patient(**values)


def validate_patient(patient: Patient, *, today: date, current: Patient | None = None) -> None:
    """Raises FieldsInvalid if a normalized patient breaks a rule that the proto cannot express."""
    if violations := find_patient_violations(patient, today=today, current=current):
        raise FieldsInvalid(violations)


def find_patient_violations(patient: Patient, *, today: date, current: Patient | None = None) -> dict[str, str]:
    """Returns the rules that a normalized patient breaks, by field path. `today` is the latest valid date.

    Text that is unchanged from `current` may contain invisible or bidirectional characters, and unchanged dates may
    contradict each other: they may have been stored before these rules existed.
    """
    violations = {name: REQUIRED for name in _REQUIRED if not getattr(patient, name)}
    violations |= _find_text_violations(patient, current)
    dates = ((name, getattr(patient, name), *rule) for name, rule in _DATES.items())
    violations |= {name: text for name, value, parse, text in dates if value and not _can_parse(parse, value)}
    if not violations.keys() & {*_DATES}:
        violations |= _find_date_violations(patient, current, today)
    return {f"patient.{name}": text for name, text in violations.items()}


def find_change_violations(change: Patient, mask: Iterable[str] | None, *, today: date) -> dict[str, str]:
    """Returns the violations of an update that do not depend on the current patient, by field path."""
    updated = _select_updated_fields(mask, change)
    patient = normalize_patient(change, default_registered_date=today)
    found = find_patient_violations(patient, today=today)
    violations = {path: text for path, text in found.items() if path.removeprefix("patient.") in updated}
    if violation := find_mask_violation(mask, _DESCRIPTOR.fields_by_name) or (None if updated else EMPTY_UPDATE):
        violations["update_mask"] = violation
    return violations


def _find_date_violations(patient: Patient, current: Patient | None, today: date) -> dict[str, str]:
    """Compares dates as text: a year or month precedes all of its days."""
    if current and all(getattr(patient, name) == getattr(current, name) for name in _DATES):
        return {}
    if patient.date_of_birth > today.isoformat():
        return {"date_of_birth": IN_FUTURE}
    if patient.registered_date > today.isoformat():
        return {"registered_date": IN_FUTURE}
    return {"registered_date": BEFORE_BIRTH} if patient.registered_date < patient.date_of_birth else {}


def merge_patient(current: Patient, change: Patient, mask: Iterable[str] | None, *, today: date) -> Patient:
    """Returns the current patient with the fields of the change that the mask selects (AIP-134).

    Output-only fields are ignored. Raises FieldsInvalid for a path that is not a field of a patient, and if no field is
    updated.
    """
    updated = _select_updated_fields(mask, change)
    if not updated or find_mask_violation(mask, _DESCRIPTOR.fields_by_name):
        raise FieldsInvalid(find_change_violations(change, mask, today=today))
    return replace(current, **{name: getattr(change, name) for name in updated})


def _select_updated_fields(mask: Iterable[str] | None, change: Patient) -> set[str]:
    """Returns the fields that an update sets.

    `*` does not stand for `restricted`: a client that does not know the field would remove the restriction.
    """
    paths = set(mask or ())
    left_out = {"restricted"} if ALL in paths else set[str]()
    return select_updated_fields(mask, change, {*_WRITABLE} - (left_out - paths))


def to_columns(patient: Patient) -> dict[str, Any]:
    """Returns the columns for the writable fields of a patient."""
    number = patient.medical_record_number
    born = parse_period(patient.date_of_birth)
    return {
        "name": patient.name,
        "email": patient.email,
        "email_key": emails.build_key(patient.email),
        "address": patient.address,
        "date_of_birth": born.first,
        "last_date_of_birth": None if born.last == born.first else born.last,
        "registered_date": date.fromisoformat(patient.registered_date),
        "phone": patient.phone,
        "sex": int(patient.sex),
        "medical_record_number": number or None,
        "restricted": patient.restricted,
        "search_key": "\n".join((fold_case(patient.name), fold_case(patient.email), fold_case(number))),
    }


def create_row(patient: Patient, patient_id: UUID, now: datetime, resource: bytes | None = None) -> dict[str, Any]:
    """Returns the row of a new patient, with the FHIR resource of the request if there is one."""
    state = {"id": patient_id, "create_time": now, "update_time": now, "sequence": 1, "resource": resource}
    return _add_message(to_columns(patient) | state | {"delete_time": None, "merged_into": None})


def advance_row(row: Mapping[str, Any], now: datetime, **changes: Any) -> dict[str, Any]:
    """Returns the row after a change, with the new columns, update time and sequence."""
    return _add_message({**row, **changes, "update_time": now, "sequence": row["sequence"] + 1})


def update_row(
    row: Mapping[str, Any], change: Patient, mask: Iterable[str] | None, now: datetime, resource: bytes | None = None
) -> dict[str, Any] | None:
    """Returns the row after an update, with the FHIR resource of the request if there is one; None without a change.

    Raises FieldsInvalid.
    """
    current, today = to_patient(row), latest_date(now)
    merged = merge_patient(current, change, mask, today=today)
    patient = normalize_patient(merged, default_registered_date=row["registered_date"])
    validate_patient(patient, today=today, current=current)
    columns = to_columns(patient) | ({} if resource is None else {"resource": resource})
    return advance_row(row, now, **columns) if has_changes(row, columns) else None


def _add_message(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row with its serialized patient, which is valid until the next change."""
    return row | {"message": PATIENT_CODEC.dumps(to_patient(row)), "message_sequence": row["sequence"]}


def has_changes(row: Mapping[str, Any], columns: Mapping[str, Any]) -> bool:
    """Returns whether any of the columns differ from the row."""
    return any(row[name] != value for name, value in columns.items())


def is_relevant_to_billing(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    """Returns whether billing must receive a change. It ignores updates of fields that it does not copy."""
    return before is None or any(row[name] != before[name] for name in _COPIED_BY_BILLING)


def is_calendar_date(text: str) -> bool:
    """Returns whether text in the form YYYY-MM-DD is a calendar date."""
    return _can_parse(date.fromisoformat, text)


def to_patient(row: Mapping[str, Any]) -> Patient:
    """Returns the patient that a row represents."""
    return Patient(
        id=str(row["id"]),
        name=row["name"],
        email=row["email"],
        address=row["address"],
        date_of_birth=format_period(row["date_of_birth"], row["last_date_of_birth"]),
        registered_date=row["registered_date"].isoformat(),
        phone=row["phone"],
        sex=Sex(row["sex"]),
        medical_record_number=row["medical_record_number"] or "",
        restricted=row["restricted"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        delete_time=row["delete_time"],
        etag=str(row["sequence"]),
        merged_into=str(row["merged_into"] or ""),
    )


def to_access_event(row: Mapping[str, Any], patient_id: str) -> AccessEvent:
    """Returns the access event of a row for one of its patients."""
    method, query = split_call(row["method"])
    return AccessEvent(
        id=str(row["id"]),
        patient_id=patient_id.lower(),
        actor_id=row["actor_id"],
        method=method,
        query=query,
        outcome=row["outcome"],
        occur_time=row["occur_time"],
        request_id=row["request_id"],
        remote_address=row["remote_address"],
    )


def _find_text_violations(patient: Patient, current: Patient | None) -> dict[str, str]:
    violations = {}
    for name in _TEXTS:
        text = getattr(patient, name)
        is_new = current is None or text != getattr(current, name)
        if text and is_new and (found := find_violation(text)):
            violations[name] = found
    return violations


def _can_parse(parse: Callable[[str], date], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True
