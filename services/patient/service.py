"""The RPCs of the patient service."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from datetime import UTC, date, datetime
from typing import Any
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
from services.common.errors import RoleRequired
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Database, Transaction
from services.common.postgres.statement import Statement
from services.common.protobuf import codec
from services.common.protobuf.encoded import Encoded, MessageField
from services.common.rpc.conditions import Condition
from services.patient.changes import encode_revision, record_patient_change
from services.patient.checks import PatientChecks
from services.patient.domain import (
    PATIENT_CODEC,
    advance_row,
    create_row,
    latest_date,
    normalize_patient,
    to_access_event,
    to_patient,
    update_row,
    validate_patient,
)
from services.patient.errors import (
    AlreadyMerged,
    EmailAlreadyExists,
    EtagMismatch,
    PatientNotFound,
    RecordNumberAlreadyExists,
)
from services.patient.grants import ADD_MEMBER
from services.patient.listing import CONCURRENT_SEARCHES, build_listing, normalize_order
from services.patient.merges import read_survivor, restrict_merged
from services.patient.models import (
    CANCEL_ERASURE,
    GET_ANY_PATIENT_FOR_UPDATE,
    GET_PATIENT,
    GET_PATIENT_FOR_UPDATE,
    INSERT_PATIENT,
    IS_ERASED,
    LIST_REVISIONS,
    PATIENT_EXISTS,
    RESPONSES,
    SEARCH,
    UPDATE_PATIENT,
)
from services.patient.watch import HEARTBEAT_SECONDS, ChangeFeed

_LIST_CODEC = codec.codec_of(ListPatientsResponse)
_PATIENTS = MessageField(ListPatientsResponse, "patients")
_LIST_REVISIONS_CODEC = codec.codec_of(ListPatientRevisionsResponse)
_REVISIONS = MessageField(ListPatientRevisionsResponse, "revisions")

CONFLICTS = {
    "patients_email_key_key": EmailAlreadyExists,
    "patients_medical_record_number_key": RecordNumberAlreadyExists,
    "patients_record_number_key": RecordNumberAlreadyExists,
}


class PatientService:
    """Implements PatientService. Every change commits with its revision, its access event and its outbox rows."""

    checks = PatientChecks()

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
        self._outbox = outbox
        self._searches = Bound(concurrent_searches)
        self._feed = ChangeFeed(db, outbox, resume_key=resume_key, heartbeat_seconds=heartbeat_seconds)

    async def create_patient(self, request: CreatePatientRequest, caller: Caller) -> Encoded[Patient]:
        """Creates a patient, once per request id. The creator of a restricted patient joins its care team.

        Raises FieldsInvalid, RequestIdReused, EmailAlreadyExists, RecordNumberAlreadyExists; PatientNotFound if the
        patient was created by an earlier request and is no longer visible to the caller.
        """
        return await self.create(_value_of(request.patient), caller, request)

    async def create(
        self, sent: Patient, caller: Caller, request: Any, *, resource: bytes | None = None
    ) -> Encoded[Patient]:
        """Creates a patient for a request with a request id, with the FHIR resource of the request if there is one."""
        now = datetime.now(UTC)

        def create(tx: Transaction) -> Encoded[Patient]:
            patient = normalize_patient(sent, default_registered_date=now.date())
            validate_patient(patient, today=latest_date(now))
            row = create_row(patient, uuid7(), now, resource)
            tx.add(INSERT_PATIENT, conflicts=CONFLICTS, **row)
            if patient.restricted:
                tx.add(ADD_MEMBER, patient_id=row["id"], user_id=caller.id)
            return record_patient_change(tx, self._outbox, PatientCreated, row, caller)

        patient, is_first = await RESPONSES.respond_once(self._db, caller, request, create)
        if not is_first:
            await self._check_repeated(UUID(PATIENT_CODEC.loads(patient.data).id))
        return patient

    async def _check_repeated(self, patient_id: UUID) -> None:
        """Records that a repeated request reads a patient. Raises PatientNotFound if the patient is not visible."""
        record_read([patient_id])
        if await self._db.row(PATIENT_EXISTS, id=patient_id) is None:
            raise PatientNotFound

    async def get_patient(self, request: GetPatientRequest) -> Encoded[Patient]:
        """Returns a patient, or the survivor of a merged one.

        Raises PatientNotFound.
        """
        if row := await self._db.row(GET_PATIENT, id=request.id):
            return Encoded(row["message"])
        return Encoded(await read_survivor(self._db, UUID(request.id)))

    async def list_patients(self, request: ListPatientsRequest) -> Encoded[ListPatientsResponse]:
        """Returns a page of patients. By default, the best matches of a query are first, then the newest patients.

        Raises FieldsInvalid, PageTokenInvalid; RateLimited if too many searches are running.
        """
        return await self.read_page(request)

    async def read_page(
        self, request: ListPatientsRequest, *, born_from: date | None = None
    ) -> Encoded[ListPatientsResponse]:
        """Returns a page of patients, with `born_from` only those who may be born on this day or later."""
        request.order_by = normalize_order(request.order_by, ranked=bool(request.query))
        listing, values = build_listing(request, born_from=born_from)
        async with self._searches.slot() if values or "," in request.order_by else nullcontext():
            rows, next_page_token = await listing.read_page(self._db, request, **values)
        record_read(row["id"] for row in rows)
        patients = b"".join(_PATIENTS.encode(row["message"]) for row in rows)
        return Encoded(patients + _LIST_CODEC.dumps(ListPatientsResponse(next_page_token=next_page_token)))

    async def update_patient(
        self, request: UpdatePatientRequest, caller: Caller, condition: Condition
    ) -> Encoded[Patient]:
        """Updates a patient. An update without effect is not recorded.

        Raises FieldsInvalid, PatientNotFound, AlreadyMerged, EtagMismatch, EmailAlreadyExists,
        RecordNumberAlreadyExists; RoleRequired if the caller must not change the restriction.
        """
        return await self.update(request, caller, condition)

    async def update(
        self, request: UpdatePatientRequest, caller: Caller, condition: Condition, *, resource: bytes | None = None
    ) -> Encoded[Patient]:
        """Updates a patient, and its FHIR resource if there is one."""
        change = _value_of(request.patient)
        mask = request.update_mask.paths if request.update_mask is not None else None
        async with self._db.begin() as tx:
            row = await _lock_patient(tx, GET_PATIENT_FOR_UPDATE, change.id, condition)
            now = datetime.now(UTC)  # read after locking, so the update times of a patient increase
            updated = update_row(row, change, mask, now, resource)
            if updated is None:
                return Encoded(PATIENT_CODEC.dumps(to_patient(row)))
            is_restricting = updated["restricted"] != row["restricted"]
            if is_restricting and caller.role != "ADMIN":
                raise RoleRequired
            tx.add(UPDATE_PATIENT, conflicts=CONFLICTS, **updated)
            if is_restricting:
                await restrict_merged(tx, self._outbox, updated, caller)
            return record_patient_change(tx, self._outbox, PatientUpdated, updated, caller, before=row)

    async def delete_patient(
        self, request: DeletePatientRequest, caller: Caller, condition: Condition
    ) -> Encoded[Patient]:
        """Marks a patient as deleted.

        Raises PatientNotFound, AlreadyMerged, EtagMismatch.
        """
        async with self._db.begin() as tx:
            row = await _lock_patient(tx, GET_PATIENT_FOR_UPDATE, request.id, condition)
            now = datetime.now(UTC)
            deleted = advance_row(row, now, delete_time=now)
            tx.add(UPDATE_PATIENT, **deleted)
            return record_patient_change(tx, self._outbox, PatientDeleted, deleted, caller)

    async def undelete_patient(
        self, request: UndeletePatientRequest, caller: Caller, condition: Condition
    ) -> Encoded[Patient]:
        """Restores a deleted patient, and cancels its erasure. A patient that is not deleted is returned unchanged.

        Raises PatientNotFound, AlreadyMerged, EtagMismatch.
        """
        async with self._db.begin() as tx:
            row = await _lock_patient(tx, GET_ANY_PATIENT_FOR_UPDATE, request.id, condition)
            if row["delete_time"] is None:
                return Encoded(PATIENT_CODEC.dumps(to_patient(row)))
            tx.add(CANCEL_ERASURE, patient_id=row["id"])
            undeleted = advance_row(row, datetime.now(UTC), delete_time=None)
            tx.add(UPDATE_PATIENT, **undeleted)
            return record_patient_change(tx, self._outbox, PatientUndeleted, undeleted, caller)

    async def list_patient_revisions(
        self, request: ListPatientRevisionsRequest
    ) -> Encoded[ListPatientRevisionsResponse]:
        """Returns a page of the revisions of a patient, deleted or not, newest first.

        Raises PatientNotFound, PageTokenInvalid.
        """
        rows, token = await LIST_REVISIONS.read_page(self._db, request, id=request.id)
        if not rows:
            raise PatientNotFound
        revisions = b"".join(_REVISIONS.encode(encode_revision(row)) for row in rows)
        return Encoded(revisions + _LIST_REVISIONS_CODEC.dumps(ListPatientRevisionsResponse(next_page_token=token)))

    async def list_access_events(self, request: ListAccessEventsRequest) -> ListAccessEventsResponse:
        """Returns a page of the access events of a patient, deleted, erased or not, newest first.

        Raises PatientNotFound, PageTokenInvalid.
        """
        if not await self._db.row(PATIENT_EXISTS, id=request.id) and not await self._db.row(IS_ERASED, id=request.id):
            raise PatientNotFound
        rows, next_page_token = await SEARCH.subject_listing.read_page(self._db, request, subject_ids=[request.id])
        events = [to_access_event(row, request.id) for row in rows]
        return ListAccessEventsResponse(access_events=events, next_page_token=next_page_token)

    async def search_patient_access_events(self, request: SearchAccessEventsRequest) -> SearchAccessEventsResponse:
        """Returns a page of access events, newest first.

        Raises PageTokenInvalid.
        """
        return await SEARCH.page(self._db, request)

    async def watch_patients(
        self, request: WatchPatientsRequest
    ) -> AsyncGenerator[Encoded[WatchPatientsResponse], None]:
        """Yields the changes of all patients from now or from a resume token on, and heartbeats when there are none.

        Raises ResumeTokenInvalid.
        """
        async with aclosing(self._feed.watch(request.resume_token)) as changes:
            async for change in changes:
                if change.patient_id:
                    record_stream_read([change.patient_id])
                yield change.response


def _value_of(patient: Patient | None) -> Patient:
    """Returns the patient in a request, empty if it is absent. `or` would compare every field with its default."""
    return Patient() if patient is None else patient


async def _lock_patient(tx: Transaction, statement: Statement, patient_id: str, condition: Condition) -> Record:
    """Locks and returns the row of a patient. Raises PatientNotFound, AlreadyMerged, EtagMismatch."""
    row = await tx.row(statement, id=patient_id)
    if row is None:
        raise PatientNotFound
    if row["merged_into"]:
        raise AlreadyMerged(id=str(row["id"]), survivor_id=str(row["merged_into"]))
    if not condition.accepts(to_patient(row).etag):
        raise EtagMismatch
    return row
