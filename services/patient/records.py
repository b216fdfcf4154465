"""Decisions about a patient's record, without a database: what is admitted, how an update merges, what is stored."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from gen.pulsetrack.patient.v1 import Patient, Sex
from services.common.errors import FieldsInvalid
from services.common.protobuf import contract
from services.common.protobuf.masks import find_mask_violation, select_updated_fields
from services.common.text import key, normalized, violation

_DESCRIPTOR = contract.message_class("pulsetrack.patient.v1.Patient").DESCRIPTOR
_REQUIRED = contract.required_fields(_DESCRIPTOR)
_GIVEN = {*contract.output_only_fields(_DESCRIPTOR), "etag"}
_WRITABLE = tuple(field.name for field in _DESCRIPTOR.fields if field.name not in _GIVEN)
_TEXTS = ("name", "email", "address", "phone", "medical_record_number")
_DATES = ("date_of_birth", "registered_date")
_LONGEST = {name: longest for name, longest in contract.longest_texts(_DESCRIPTOR).items() if name in _TEXTS}


def admitted(patient: Patient, *, registered: date, today: date, current: Patient | None = None) -> Patient:
    """Returns a patient as it may be stored: text normalised, the registered date filled in, output-only fields empty.

    Raises FieldsInvalid for a required field that is missing, a text that is too long when it is normalised or
    cannot be seen as it is (unless `current` has it, from before that rule), a day that is in no calendar, a birth in
    the future.
    """
    values = {name: getattr(patient, name) for name in _WRITABLE}
    values |= {name: normalized(values[name]) for name in _TEXTS}
    values["registered_date"] = values["registered_date"] or registered.isoformat()
    wrong = {f"patient.{name}": "value is required" for name in _REQUIRED if not values[name]}
    for name, longest in _LONGEST.items():
        if len(values[name]) > longest:  # NFC makes some texts longer
            wrong[f"patient.{name}"] = f"must be at most {longest} characters in Unicode NFC"
    for name in _TEXTS:
        if (
            values[name]
            and (current is None or values[name] != getattr(current, name))
            and (said := violation(values[name]))
        ):
            wrong[f"patient.{name}"] = said
    for name in _DATES:
        if (day := values[name]) and not is_day(day):
            wrong[f"patient.{name}"] = "is not a day of the calendar"
    if values["date_of_birth"] > today.isoformat():
        wrong.setdefault("patient.date_of_birth", "must not be in the future")
    if wrong:
        raise FieldsInvalid(wrong)
    return Patient(**values)


def merged(current: Patient, change: Patient, mask: Iterable[str] | None) -> Patient:
    """Returns the current patient with the fields of the change that the mask names (AIP-134).

    Without a mask, those that have a value; "*" means all. Output-only fields are ignored. Raises FieldsInvalid.
    """
    if rejected := find_mask_violation(mask, _DESCRIPTOR.fields_by_name):
        raise FieldsInvalid({"update_mask": rejected})
    updated = select_updated_fields(mask, change, _WRITABLE)
    return replace(current, **{name: getattr(change, name) for name in updated})


def columns(patient: Patient) -> dict[str, Any]:
    """Returns the values of a patient's own columns. Those of its state (times, sequence) come from the RPC."""
    number = patient.medical_record_number
    return {
        "name": patient.name,
        "email": patient.email,
        "email_key": key(patient.email),
        "address": patient.address,
        "date_of_birth": date.fromisoformat(patient.date_of_birth),
        "registered_date": date.fromisoformat(patient.registered_date),
        "phone": patient.phone,
        "sex": int(patient.sex),
        "medical_record_number": number or None,
        "search_key": "\n".join((key(patient.name), key(patient.email), key(number))),
    }


def is_day(text: str) -> bool:
    """Returns whether a text in the form YYYY-MM-DD is a day of the calendar."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def patient_of(row: Mapping[str, Any]) -> Patient:
    """Returns the patient that a row holds."""
    return Patient(
        id=str(row["id"]),
        name=row["name"],
        email=row["email"],
        address=row["address"],
        date_of_birth=row["date_of_birth"].isoformat(),
        registered_date=row["registered_date"].isoformat(),
        phone=row["phone"],
        sex=Sex(row["sex"]),
        medical_record_number=row["medical_record_number"] or "",
        create_time=row["create_time"],
        update_time=row["update_time"],
        delete_time=row["delete_time"],
        etag=str(row["sequence"]),
    )
