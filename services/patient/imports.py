"""ImportPatients and ImportPatientRecords: create or update the patients of a batch of records, each on its own."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from asyncpg import Record as Row
from uuid_utils.compat import uuid7

from gen.pulsetrack.patient.v1 import (
    CreatePatientRequest,
    ImportMode,
    ImportOutcome,
    ImportPatientRecordsRequest,
    ImportPatientsRequest,
    ImportPatientsResponse,
    ImportResult,
    ImportViolation,
    Patient,
    PatientCreated,
    UpdatePatientRequest,
)
from services.common import emails
from services.common.audit.events import current_access, record_stream_read
from services.common.context import Caller
from services.common.errors import Failure, FieldsInvalid, RoleRequired
from services.common.messaging.outbox import Outbox
from services.common.postgres.batches import to_arrays
from services.common.postgres.database import Database
from services.common.protobuf import codec
from services.common.rpc.conditions import Condition
from services.common.rpc.validation import validate_message
from services.common.text import fold_case, remove_ignorables
from services.patient.changes import record_patient_change
from services.patient.domain import (
    create_row,
    find_patient_violations,
    has_changes,
    latest_date,
    merge_patient,
    normalize_patient,
    to_columns,
    to_patient,
)
from services.patient.errors import AlreadyMerged, EmailAlreadyExists, PatientNotFound, RecordNumberAlreadyExists
from services.patient.grants import ADD_MEMBER
from services.patient.import_lines import SentRecord, read_lines
from services.patient.import_statements import (
    COLUMNS,
    FIND_BY_EMAIL,
    FIND_BY_NUMBER,
    FIND_TAKEN_NUMBERS,
    INSERT_PATIENTS,
)
from services.patient.service import PatientService

_CREATE_CODEC = codec.codec_of(CreatePatientRequest)
_REFUSALS = (FieldsInvalid, PatientNotFound, AlreadyMerged, EmailAlreadyExists, RecordNumberAlreadyExists, RoleRequired)
_PAUSE = 10
"""After how many records other calls of the process run."""


T = TypeVar("T")


class _Key(NamedTuple):
    is_number: bool
    text: str
    """The medical record number, or the key of the email address."""


class _Record(NamedTuple):
    position: int
    """The position in the request."""
    sent: SentRecord
    patient: Patient
    """The patient that the record creates."""
    key: _Key
    email: str
    """The key of the email address."""


Results = dict[int, ImportResult]
"""The results by the positions of the records."""


class ImportService:
    """Implements ImportPatients."""

    def __init__(self, db: Database, outbox: Outbox, patients: PatientService) -> None:
        """Takes the service that updates patients."""
        self._db = db
        self._outbox = outbox
        self._patients = patients

    async def import_patients(self, request: ImportPatientsRequest, caller: Caller) -> ImportPatientsResponse:
        """Imports the records of a batch, and returns the result of each."""
        return await self._import_all(request.patients, SentRecord, request.mode, caller)

    async def import_patient_records(
        self, request: ImportPatientRecordsRequest, caller: Caller
    ) -> ImportPatientsResponse:
        """Imports the lines of a file, and returns the result of each.

        Raises FieldsInvalid for an unknown content type, and for too many lines or none.
        """
        lines, read = read_lines(request.records)
        return await self._import_all(lines, read, request.mode, caller)

    async def _import_all(
        self, sent: Iterable[T], read: Callable[[T], SentRecord], mode: ImportMode, caller: Caller
    ) -> ImportPatientsResponse:
        """Imports records. One that cannot be read is refused."""
        records: list[_Record] = []
        results: Results = {}
        for position, each in enumerate(sent):
            try:
                records.append(_prepare(position, read(each)))
            except FieldsInvalid as failure:
                results[position] = _refuse(failure)
            await _pause(position)
        for part in _split(records):
            results |= await self._import(part, caller, update=mode is ImportMode.UPSERT)
        _record_reads(results.values())
        return ImportPatientsResponse(results=[result for _, result in sorted(results.items())])

    async def _import(self, records: Sequence[_Record], caller: Caller, *, update: bool) -> Results:
        """Imports records of which no two have the same key or email address."""
        existing = await self._find_existing(records)
        results = await self._create([each for each in records if each.key not in existing], caller)
        left = [each for each in records if each.position not in results]
        conflicting = [each for each in left if each.key not in existing]
        existing |= await self._find_existing(conflicting)  # others may have created them since
        taken = await self._find_taken_numbers([each for each in conflicting if each.key not in existing])
        for record in left:
            if row := existing.get(record.key):
                results[record.position] = await self._import_existing(record, row, caller, update=update)
            else:
                is_taken = record.patient.medical_record_number in taken
                results[record.position] = _refuse((RecordNumberAlreadyExists if is_taken else EmailAlreadyExists)())
        return results

    async def _find_existing(self, records: Sequence[_Record]) -> dict[_Key, Row]:
        """Returns the visible patients, deleted or not, that have the keys of records."""
        found: dict[_Key, Row] = {}
        for is_number, statement in ((True, FIND_BY_NUMBER), (False, FIND_BY_EMAIL)):
            if keys := [each.key.text for each in records if each.key.is_number is is_number]:
                found |= {_Key(is_number, row["key"]): row for row in await self._db.rows(statement, keys=keys)}
        return found

    async def _find_taken_numbers(self, records: Sequence[_Record]) -> set[str]:
        """Returns the record numbers of records that patients have, visible or not."""
        numbers = [each.key.text for each in records if each.key.is_number]
        return {row["key"] for row in await self._db.rows(FIND_TAKEN_NUMBERS, keys=numbers)} if numbers else set()

    async def _create(self, records: Sequence[_Record], caller: Caller) -> Results:
        """Creates patients, in one transaction. Returns the results of those that no existing patient prevents.

        The rows are sorted by key. Concurrent imports of the same records therefore do not deadlock.
        """
        if not records:
            return {}
        now = datetime.now(UTC)
        positions: dict[UUID, int] = {}
        rows: dict[UUID, dict[str, Any]] = {}
        for count, record in enumerate(sorted(records, key=lambda each: each.key)):
            patient_id = uuid7()
            positions[patient_id] = record.position
            rows[patient_id] = create_row(record.patient, patient_id, now, record.sent.resource)
            await _pause(count)
        async with self._db.begin() as tx:
            inserted = await tx.rows(INSERT_PATIENTS, **to_arrays(list(rows.values()), COLUMNS))
            for count, patient_id in enumerate(created := [each["id"] for each in inserted]):
                if rows[patient_id]["restricted"]:
                    tx.add(ADD_MEMBER, patient_id=patient_id, user_id=caller.id)
                record_patient_change(tx, self._outbox, PatientCreated, rows[patient_id], caller)
                await _pause(count)
        return {positions[each]: ImportResult(outcome=ImportOutcome.CREATED, patient_id=str(each)) for each in created}

    async def _import_existing(self, record: _Record, row: Row, caller: Caller, *, update: bool) -> ImportResult:
        """Imports a record whose key a patient has."""
        conflict = RecordNumberAlreadyExists if record.key.is_number else EmailAlreadyExists
        if row["delete_time"] is not None:
            return _refuse(conflict())
        patient_id = str(row["id"])
        if not _differs(record, row):
            return ImportResult(outcome=ImportOutcome.SAME, patient_id=patient_id)
        if not update:
            return _refuse(conflict())
        sent, resource = record.sent
        sent.id = patient_id
        try:
            await self._patients.update(UpdatePatientRequest(patient=sent), caller, Condition(), resource=resource)
        except _REFUSALS as failure:
            return _refuse(failure)
        return ImportResult(outcome=ImportOutcome.UPDATED, patient_id=patient_id)


async def _pause(count: int) -> None:
    """Lets other calls of the process run, after every few records."""
    if count % _PAUSE == 0:
        await asyncio.sleep(0)


def _prepare(position: int, sent: SentRecord) -> _Record:
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
    return _Record(position, sent, patient, _Key(is_number=bool(number), text=number or email), email)


def _split(records: Iterable[_Record]) -> list[list[_Record]]:
    """Splits records into parts, of which each has a number and an email address once, in the order of the records."""
    parts: list[list[_Record]] = []
    next_part: dict[tuple[bool, str], int] = {}
    for record in records:
        keys = {(record.key.is_number, fold_case(remove_ignorables(record.key.text))), (False, record.email)}
        number = max(next_part.get(key, 0) for key in keys)
        if number == len(parts):
            parts.append([])
        parts[number].append(record)
        next_part |= dict.fromkeys(keys, number + 1)
    return parts


def _differs(record: _Record, row: Row) -> bool:
    """Returns whether the record has another value than its patient in a field that the record sets."""
    if record.sent.resource not in (None, row["resource"]):
        return True
    merged = merge_patient(to_patient(row), record.sent.patient, None, today=latest_date(datetime.now(UTC)))
    patient = normalize_patient(merged, default_registered_date=row["registered_date"])
    return has_changes(row, to_columns(patient))


def _refuse(failure: Failure) -> ImportResult:
    found = failure.violations if isinstance(failure, FieldsInvalid) else {}
    violations = [ImportViolation(field=field, description=text) for field, text in found.items()]
    return ImportResult(outcome=ImportOutcome.REFUSED, reason=failure.reason, violations=violations)


def _record_reads(results: Iterable[ImportResult]) -> None:
    """Records that the call read the patients that did not change. Those that changed have events of their own.

    The limit of what a caller reads does not apply: the caller has sent all values.
    """
    found = list(results)
    read = [UUID(each.patient_id) for each in found if each.outcome is ImportOutcome.SAME]
    if not any(each.outcome in {ImportOutcome.CREATED, ImportOutcome.UPDATED} for each in found):
        current_access.get().subject_ids += read
    elif read:
        record_stream_read(read)
