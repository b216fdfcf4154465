"""ImportPatients and ImportPatientRecords: create or update the patients of a batch of records, each on its own."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from asyncpg import Record as Row
from uuid_utils.compat import uuid7

from gen.pulsetrack.patient.v1 import (
    ImportMode,
    ImportOutcome,
    ImportPatientRecordsRequest,
    ImportPatientsRequest,
    ImportPatientsResponse,
    ImportResult,
    ImportViolation,
    PatientCreated,
    PatientUpdated,
    UpdatePatientRequest,
)
from services.common.audit.events import current_access, record_stream_read
from services.common.context import Caller
from services.common.errors import Failure, FieldsInvalid, RoleRequired
from services.common.messaging.outbox import Outbox
from services.common.postgres.batches import to_arrays
from services.common.postgres.database import Database
from services.common.rpc.conditions import Condition
from services.patient.changes import record_patient_change
from services.patient.domain import create_row, update_row
from services.patient.errors import AlreadyMerged, EmailAlreadyExists, PatientNotFound, RecordNumberAlreadyExists
from services.patient.grants import ADD_MEMBER
from services.patient.import_lines import SentRecord, read_lines
from services.patient.import_records import Key, Record, differs, prepare_record, split_records
from services.patient.import_statements import (
    COLUMNS,
    FIND_BY_EMAIL,
    FIND_BY_NUMBER,
    FIND_TAKEN_NUMBERS,
    INSERT_PATIENTS,
    LOCK_PATIENTS,
)
from services.patient.models import UPDATE_PATIENT
from services.patient.service import CONFLICTS, PatientService

_REFUSALS = (FieldsInvalid, PatientNotFound, AlreadyMerged, EmailAlreadyExists, RecordNumberAlreadyExists, RoleRequired)
_PAUSE = 10
"""After how many records other calls of the process run."""


T = TypeVar("T")


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
        records: list[Record] = []
        results: Results = {}
        for position, each in enumerate(sent):
            try:
                records.append(prepare_record(position, read(each)))
            except FieldsInvalid as failure:
                results[position] = _refuse(failure)
            await _pause(position)
        for part in split_records(records):
            results |= await self._import(part, caller, update=mode is ImportMode.UPSERT)
        _record_reads(results.values())
        return ImportPatientsResponse(results=[result for _, result in sorted(results.items())])

    async def _import(self, records: Sequence[Record], caller: Caller, *, update: bool) -> Results:
        """Imports records of which no two have the same key or email address."""
        existing = await self._find_existing(records)
        results = await self._create([each for each in records if each.key not in existing], caller)
        left = [each for each in records if each.position not in results]
        conflicting = [each for each in left if each.key not in existing]
        existing |= await self._find_existing(conflicting)  # others may have created them since
        taken = await self._find_taken_numbers([each for each in conflicting if each.key not in existing])
        changing: list[tuple[UUID, Record]] = []
        for count, record in enumerate(left):
            if not (row := existing.get(record.key)):
                is_taken = record.patient.medical_record_number in taken
                results[record.position] = _refuse((RecordNumberAlreadyExists if is_taken else EmailAlreadyExists)())
            elif row["delete_time"] is None and not differs(record, row):
                results[record.position] = ImportResult(outcome=ImportOutcome.SAME, patient_id=str(row["id"]))
            elif row["delete_time"] is None and update:
                changing.append((row["id"], record))
            else:
                conflict = RecordNumberAlreadyExists if record.key.is_number else EmailAlreadyExists
                results[record.position] = _refuse(conflict())
            await _pause(count)
        return results | await self._update(changing, caller)

    async def _find_existing(self, records: Sequence[Record]) -> dict[Key, Row]:
        """Returns the visible patients, deleted or not, that have the keys of records."""
        found: dict[Key, Row] = {}
        for is_number, statement in ((True, FIND_BY_NUMBER), (False, FIND_BY_EMAIL)):
            if keys := [each.key.text for each in records if each.key.is_number is is_number]:
                found |= {Key(is_number, row["key"]): row for row in await self._db.rows(statement, keys=keys)}
        return found

    async def _find_taken_numbers(self, records: Sequence[Record]) -> set[str]:
        """Returns the record numbers of records that patients have, visible or not."""
        numbers = [each.key.text for each in records if each.key.is_number]
        return {row["key"] for row in await self._db.rows(FIND_TAKEN_NUMBERS, keys=numbers)} if numbers else set()

    async def _create(self, records: Sequence[Record], caller: Caller) -> Results:
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

    async def _update(self, changing: Sequence[tuple[UUID, Record]], caller: Caller) -> Results:
        """Updates patients together, and then each of those for which this was not possible."""
        try:
            results = await self._update_together(dict(reversed(changing)), caller)
        except (EmailAlreadyExists, RecordNumberAlreadyExists):  # one of them has a value of another patient
            results = {}
        for patient_id, record in changing:
            if record.position not in results:
                results[record.position] = await self._update_one(patient_id, record, caller)
        return results

    async def _update_together(self, changing: Mapping[UUID, Record], caller: Caller) -> Results:
        """Updates patients in one transaction, except those whose update is refused or restricts others."""
        results: Results = {}
        if not changing:
            return results
        async with self._db.begin() as tx:
            for count, row in enumerate(await tx.rows(LOCK_PATIENTS, ids=list(changing))):
                record = changing[row["id"]]
                with suppress(FieldsInvalid):
                    updated = update_row(row, record.sent.patient, None, datetime.now(UTC), record.sent.resource)
                    if updated and updated["restricted"] == row["restricted"]:
                        tx.add(UPDATE_PATIENT, conflicts=CONFLICTS, **updated)
                        record_patient_change(tx, self._outbox, PatientUpdated, updated, caller, before=row)
                        results[record.position] = _build_updated(row["id"])
                await _pause(count)
        return results

    async def _update_one(self, patient_id: UUID, record: Record, caller: Caller) -> ImportResult:
        sent, resource = record.sent
        sent.id = str(patient_id)
        try:
            await self._patients.update(UpdatePatientRequest(patient=sent), caller, Condition(), resource=resource)
        except _REFUSALS as failure:
            return _refuse(failure)
        return _build_updated(patient_id)


def _build_updated(patient_id: UUID) -> ImportResult:
    return ImportResult(outcome=ImportOutcome.UPDATED, patient_id=str(patient_id))


async def _pause(count: int) -> None:
    """Lets other calls of the process run, after every few records."""
    if count % _PAUSE == 0:
        await asyncio.sleep(0)


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
