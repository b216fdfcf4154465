"""Calls about patients."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypedDict, Unpack
from uuid import uuid4

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.field_mask_pb2 import FieldMask

from pulsetrack.calls import Caller
from pulsetrack.patient.v1.patient_pb2 import (
    CreatePatientRequest,
    DeletePatientRequest,
    ExportPatientsRequest,
    GetPatientRequest,
    ImportMode,
    ImportPatientRecordsRequest,
    ImportPatientsRequest,
    ImportResult,
    ListPatientRevisionsRequest,
    ListPatientsRequest,
    Patient,
    Revision,
    Sex,
    UndeletePatientRequest,
    UpdatePatientRequest,
    WatchPatientsRequest,
    WatchPatientsResponse,
)

if TYPE_CHECKING:  # declared only in the type stubs
    from pulsetrack.patient.v1.patient_pb2_grpc import PatientServiceAsyncStub

_FHIR_LINES = "application/fhir+ndjson"
_PAGE_SIZE = 200
_SILENCE = 45
"""Seconds without a message after which a stream begins again. A watch has one at least every 15 seconds."""


class PatientFields(TypedDict, total=False):
    """The fields of a patient that users set. An empty string clears a field."""

    name: str
    email: str
    address: str
    date_of_birth: str
    registered_date: str
    phone: str
    sex: Sex.ValueType
    medical_record_number: str


class ExportFilter(TypedDict, total=False):
    """What an export contains, as in ExportPatientsRequest."""

    show_deleted: bool
    sex: Sex.ValueType
    born_after: str
    born_before: str
    registered_after: str
    registered_before: str


class PatientFilter(ExportFilter, total=False):
    """What a list of patients contains, as in ListPatientsRequest."""

    query: str
    order_by: str


class Patients:
    """Reads and changes patients. Every method raises PulseTrackError. Timeouts are in seconds."""

    def __init__(self, caller: Caller, stub: "PatientServiceAsyncStub") -> None:
        self._caller = caller
        self.stub = stub

    async def create(
        self, *, request_id: str = "", timeout: float | None = None, **fields: Unpack[PatientFields]
    ) -> Patient:
        """Creates a patient, once: all attempts have the same request ID."""
        request = CreatePatientRequest(patient=Patient(**fields), request_id=request_id or str(uuid4()))
        return await self._caller.call(self.stub.CreatePatient, request, timeout=timeout, idempotent=True)

    async def get(self, patient_id: str, *, timeout: float | None = None) -> Patient:
        """Returns a patient."""
        request = GetPatientRequest(id=patient_id)
        return await self._caller.call(self.stub.GetPatient, request, timeout=timeout, idempotent=True)

    def list(self, *, page_size: int = _PAGE_SIZE, **filters: Unpack[PatientFilter]) -> AsyncGenerator[Patient, None]:
        """Yields patients, newest first or best matches first. Fetches the next page when it is needed."""
        request = ListPatientsRequest(page_size=page_size, **filters)
        return self._caller.list(self.stub.ListPatients, request, lambda page: page.patients)

    async def update(
        self, patient_id: str, *, etag: str = "", timeout: float | None = None, **fields: Unpack[PatientFields]
    ) -> Patient:
        """Changes the given fields. With the etag of an earlier read, raises Conflict if the patient has changed since.

        An update with an etag is not repeated after an interruption: the first attempt may have changed the etag.
        """
        patient = Patient(id=patient_id, etag=etag, **fields)
        request = UpdatePatientRequest(patient=patient, update_mask=FieldMask(paths=list(fields)))
        return await self._caller.call(self.stub.UpdatePatient, request, timeout=timeout, idempotent=not etag)

    async def import_batch(
        self, patients: Sequence[Patient], mode: ImportMode.ValueType, *, timeout: float | None = None
    ) -> Sequence[ImportResult]:
        """Creates or updates up to 500 patients by their keys. Returns a result for each. Can be repeated."""
        request = ImportPatientsRequest(patients=patients, mode=mode)
        response = await self._caller.call(self.stub.ImportPatients, request, timeout=timeout, idempotent=True)
        return response.results

    async def import_resources(
        self, lines: Sequence[bytes], mode: ImportMode.ValueType, *, timeout: float | None = None
    ) -> Sequence[ImportResult]:
        """Creates or updates up to 500 patients as `import_batch` does, from FHIR resources of which each is a line."""
        records = HttpBody(content_type=_FHIR_LINES, data=b"\n".join(lines))
        request = ImportPatientRecordsRequest(records=records, mode=mode)
        response = await self._caller.call(self.stub.ImportPatientRecords, request, timeout=timeout, idempotent=True)
        return response.results

    async def export(self, **filters: Unpack[ExportFilter]) -> AsyncGenerator[Patient, None]:
        """Yields all patients as they are at one moment, by ID. For admins. Resumes as `watch` does."""
        request = ExportPatientsRequest(**filters)
        stream = self._caller.stream(self.stub.ExportPatients, request, silence=_SILENCE)
        async with aclosing(stream) as messages:
            async for message in messages:
                for patient in message.patients:
                    yield patient

    async def delete(self, patient_id: str, *, etag: str = "", timeout: float | None = None) -> Patient:
        """Deletes a patient, who can be undeleted."""
        request = DeletePatientRequest(id=patient_id, etag=etag)
        return await self._caller.call(self.stub.DeletePatient, request, timeout=timeout)

    async def undelete(self, patient_id: str, *, timeout: float | None = None) -> Patient:
        """Restores a deleted patient."""
        request = UndeletePatientRequest(id=patient_id)
        return await self._caller.call(self.stub.UndeletePatient, request, timeout=timeout, idempotent=True)

    def revisions(self, patient_id: str, *, page_size: int = _PAGE_SIZE) -> AsyncGenerator[Revision, None]:
        """Yields the versions of a patient, newest first."""
        request = ListPatientRevisionsRequest(id=patient_id, page_size=page_size)
        return self._caller.list(self.stub.ListPatientRevisions, request, lambda page: page.revisions)

    async def watch(
        self, resume_token: str = "", *, heartbeats: bool = False
    ) -> AsyncGenerator[WatchPatientsResponse, None]:
        """Yields changes of all patients as they are committed, until the caller stops.

        Resumes after a disconnect, a restart of the service or an expired access token. No change is lost or repeated.
        To continue in another process, store the `resume_token` of the last message. With `heartbeats`, also yields
        messages without a revision. The first message comes at once.
        """
        request = WatchPatientsRequest(resume_token=resume_token)
        stream = self._caller.stream(self.stub.WatchPatients, request, silence=_SILENCE)
        async with aclosing(stream) as messages:
            async for message in messages:
                if heartbeats or message.HasField("revision"):
                    yield message
