"""The RPCs of the patient service."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from datetime import UTC, datetime
from uuid import UUID

from asyncpg import Record
from uuid_utils.compat import uuid7

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, SearchAccessEventsResponse
from gen.pulsetrack.patient.v1 import (
    CreatePatientRequest,
    DeletePatientRequest,
    GetPatientRequest,
    ListAccessEventsRequest,
    ListAccessEventsResponse,
    ListPatientRevisionsRequest,
    ListPatientRevisionsResponse,
    ListPatientsRequest,
    ListPatientsResponse,
    Patient,
    PatientCreated,
    PatientDeleted,
    PatientUndeleted,
    PatientUpdated,
    UndeletePatientRequest,
    UpdatePatientRequest,
    WatchPatientsRequest,
    WatchPatientsResponse,
)
from services.common.audit.events import record_read, record_stream_read
from services.common.bounds import Bound
from services.common.context import Caller
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Database, Transaction
from services.patient.accesses import access_event_of
from services.patient.errors import EmailAlreadyExists, EtagMismatch, PatientNotFound, RecordNumberAlreadyExists
from services.patient.events import record
from services.patient.listing import listed
from services.patient.models import (
    ANSWERS,
    GET_ANY_PATIENT_FOR_UPDATE,
    GET_PATIENT,
    GET_PATIENT_FOR_UPDATE,
    INSERT_PATIENT,
    IS_KNOWN_PATIENT,
    LIST_REVISIONS,
    SEARCH,
    UPDATE_PATIENT,
)
from services.patient.records import admitted, columns, merged, patient_of
from services.patient.revisions import revision_of
from services.patient.watching import HEARTBEAT_SECONDS, Changes

_TAKEN = {
    "patients_email_key_key": EmailAlreadyExists,
    "patients_medical_record_number_key": RecordNumberAlreadyExists,
    "patients_record_number_key": RecordNumberAlreadyExists,
}

CONCURRENT_SEARCHES = 2
"""How many lists with a query or a filter run at once: each may read the whole table."""


class PatientService:
    """Keeps patient records: every change is one transaction with its revision and its event."""

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        *,
        resume_key: bytes,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        concurrent_searches: int = CONCURRENT_SEARCHES,
    ) -> None:
        self._db = db
        self._searches = Bound(concurrent_searches)
        self._outbox = outbox
        self._changes = Changes(db, outbox, resume_key=resume_key, heartbeat_seconds=heartbeat_seconds)

    async def create_patient(self, request: CreatePatientRequest, caller: Caller) -> Patient:
        """Creates a patient, once per request id.

        Raises FieldsInvalid, RequestIdReused, EmailAlreadyExists, RecordNumberAlreadyExists.
        """
        async with self._db.begin() as tx:
            if answer := await ANSWERS.earlier(tx, caller, request, Patient):
                record_read([UUID(answer.id)])
                return answer
            now = datetime.now(UTC)
            patient = admitted(request.patient or Patient(), registered=now.date(), today=now.date())
            state = {"id": uuid7(), "create_time": now, "update_time": now, "delete_time": None, "sequence": 1}
            values = columns(patient) | state
            await tx.run(INSERT_PATIENT, taken=_TAKEN, **values)
            created = await record(self._outbox, tx, PatientCreated, values, caller)
            return await ANSWERS.remember(tx, caller, request, created)

    async def get_patient(self, request: GetPatientRequest) -> Patient:
        """Returns a patient.

        Raises PatientNotFound.
        """
        row = await self._db.row(GET_PATIENT, id=request.id)
        if row is None:
            raise PatientNotFound
        return patient_of(row)

    async def list_patients(self, request: ListPatientsRequest) -> ListPatientsResponse:
        """Returns a page of patients, newest first unless told otherwise.

        Raises FieldsInvalid, PageTokenInvalid; RateLimited if too many searches are under way.
        """
        listing, values = listed(request)
        async with self._searches.slot() if values else nullcontext():
            rows, next_page_token = await listing.page(self._db, request, **values)
        record_read(row["id"] for row in rows)
        return ListPatientsResponse(patients=[patient_of(row) for row in rows], next_page_token=next_page_token)

    async def update_patient(self, request: UpdatePatientRequest, caller: Caller) -> Patient:
        """Changes a patient. A change that changes nothing is no event.

        Raises FieldsInvalid, PatientNotFound, EtagMismatch, EmailAlreadyExists, RecordNumberAlreadyExists.
        """
        change = request.patient or Patient()
        async with self._db.begin() as tx:
            row = await _in_use(tx, change.id, change.etag)
            now = datetime.now(UTC)  # behind the lock, so that changes of one patient follow each other in time
            mask = request.update_mask.paths if request.update_mask else None
            current = patient_of(row)
            patient = merged(current, change, mask)
            stored = columns(admitted(patient, registered=row["registered_date"], today=now.date(), current=current))
            values = {**row, **stored, "update_time": now, "sequence": row["sequence"] + 1}
            if stored.items() <= dict(row).items():
                return patient_of(row)
            await tx.run(UPDATE_PATIENT, taken=_TAKEN, **values)
            return await record(self._outbox, tx, PatientUpdated, values, caller, before=row)

    async def delete_patient(self, request: DeletePatientRequest, caller: Caller) -> Patient:
        """Marks a patient as deleted.

        Raises PatientNotFound, EtagMismatch.
        """
        async with self._db.begin() as tx:
            row = await _in_use(tx, request.id, request.etag)
            now = datetime.now(UTC)
            values = {**row, "update_time": now, "delete_time": now, "sequence": row["sequence"] + 1}
            await tx.run(UPDATE_PATIENT, **values)
            return await record(self._outbox, tx, PatientDeleted, values, caller)

    async def undelete_patient(self, request: UndeletePatientRequest, caller: Caller) -> Patient:
        """Takes back the deletion of a patient. One that is not deleted stays as it is.

        Raises PatientNotFound.
        """
        async with self._db.begin() as tx:
            row = await tx.row(GET_ANY_PATIENT_FOR_UPDATE, id=request.id)
            if row is None:
                raise PatientNotFound
            if row["delete_time"] is None:
                return patient_of(row)
            values = {**row, "update_time": datetime.now(UTC), "delete_time": None, "sequence": row["sequence"] + 1}
            await tx.run(UPDATE_PATIENT, **values)
            return await record(self._outbox, tx, PatientUndeleted, values, caller)

    async def list_patient_revisions(self, request: ListPatientRevisionsRequest) -> ListPatientRevisionsResponse:
        """Returns a page of a patient's revisions, newest first.

        Raises PatientNotFound, PageTokenInvalid.
        """
        rows, next_page_token = await LIST_REVISIONS.page(self._db, request, id=request.id)
        if not rows:
            raise PatientNotFound
        return ListPatientRevisionsResponse(
            revisions=[revision_of(row) for row in rows], next_page_token=next_page_token
        )

    async def list_access_events(self, request: ListAccessEventsRequest) -> ListAccessEventsResponse:
        """Returns a page of the access events of a patient, deleted or not, newest first.

        Raises PatientNotFound, PageTokenInvalid.
        """
        if await self._db.row(IS_KNOWN_PATIENT, id=request.id) is None:
            raise PatientNotFound
        rows, next_page_token = await SEARCH.subject_listing.page(self._db, request, subject_ids=[request.id])
        events = [access_event_of(row, request.id) for row in rows]
        return ListAccessEventsResponse(access_events=events, next_page_token=next_page_token)

    async def search_patient_access_events(self, request: SearchAccessEventsRequest) -> SearchAccessEventsResponse:
        """Returns a page of access events, newest first.

        Raises PageTokenInvalid.
        """
        return await SEARCH.page(self._db, request)

    async def watch_patients(self, request: WatchPatientsRequest) -> AsyncGenerator[WatchPatientsResponse, None]:
        """Yields each change of a patient from now on, or behind a resume token, and heartbeats while there is none.

        Raises ResumeTokenInvalid.
        """
        async with aclosing(self._changes.watch(request.resume_token)) as answers:
            async for answer in answers:
                if answer.revision and answer.revision.patient:
                    record_stream_read([UUID(answer.revision.patient.id)])
                yield answer


async def _in_use(tx: Transaction, patient_id: str, etag: str) -> Record:
    """Locks a patient's row. Raises PatientNotFound; EtagMismatch if an etag is given and is not the row's."""
    row = await tx.row(GET_PATIENT_FOR_UPDATE, id=patient_id)
    if row is None:
        raise PatientNotFound
    if etag and etag != patient_of(row).etag:
        raise EtagMismatch
    return row
