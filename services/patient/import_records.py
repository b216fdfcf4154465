"""The records of imports: their keys, and what they would change."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from asyncpg import Record as Row

from gen.pulsetrack.patient.v1 import CreatePatientRequest, Patient
from services.common import emails
from services.common.errors import FieldsInvalid
from services.common.protobuf import codec
from services.common.rpc.validation import validate_message
from services.common.text import fold_case, remove_ignorables
from services.patient.domain import (
    find_patient_violations,
    has_changes,
    latest_date,
    merge_patient,
    normalize_patient,
    to_columns,
    to_patient,
)
from services.patient.import_lines import SentRecord

_CREATE_CODEC = codec.codec_of(CreatePatientRequest)


class Key(NamedTuple):
    """What identifies the patient of a record."""

    is_number: bool
    text: str
    """The medical record number, or the key of the email address."""


class Record(NamedTuple):
    """A valid record."""

    position: int
    """The position in the request."""
    sent: SentRecord
    patient: Patient
    """The patient that the record creates."""
    key: Key
    email: str
    """The key of the email address."""


def prepare_record(position: int, sent: SentRecord) -> Record:
    """Returns the record of a patient in the request. Raises FieldsInvalid, with the violations of CreatePatient."""
    now = datetime.now(UTC)
    found: Mapping[str, str] = {}
    try:
        validate_message(_CREATE_CODEC.encode(CreatePatientRequest(patient=sent.patient)))
    except FieldsInvalid as failure:
        found = failure.violations
    patient = normalize_patient(sent.patient, default_registered_date=now.date())
    if violations := {**find_patient_violations(patient, today=latest_date(now)), **found}:
        raise FieldsInvalid(violations)
    number, email = patient.medical_record_number, emails.build_key(patient.email)
    return Record(position, sent, patient, Key(is_number=bool(number), text=number or email), email)


def split_records(records: Iterable[Record]) -> list[list[Record]]:
    """Splits records into parts, of which each has a number and an email address once, in the order of the records."""
    parts: list[list[Record]] = []
    next_part: dict[tuple[bool, str], int] = {}
    for record in records:
        keys = {(record.key.is_number, fold_case(remove_ignorables(record.key.text))), (False, record.email)}
        number = max(next_part.get(key, 0) for key in keys)
        if number == len(parts):
            parts.append([])
        parts[number].append(record)
        next_part |= dict.fromkeys(keys, number + 1)
    return parts


def differs(record: Record, row: Row) -> bool:
    """Returns whether the record has another value than its patient in a field that the record sets."""
    if record.sent.resource not in (None, row["resource"]):
        return True
    merged = merge_patient(to_patient(row), record.sent.patient, None, today=latest_date(datetime.now(UTC)))
    patient = normalize_patient(merged, default_registered_date=row["registered_date"])
    return has_changes(row, to_columns(patient))
