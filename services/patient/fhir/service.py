"""The RPCs of the FHIR R4 API. They read and change patients through PatientService, with the same rules and audit."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

from gen.google.api import HttpBody
from gen.google.protobuf import Empty, FieldMask
from gen.pulsetrack.patient.v1 import (
    CreateFhirPatientRequest,
    CreatePatientRequest,
    DeleteFhirPatientRequest,
    DeletePatientRequest,
    FindFhirPatientsRequest,
    GetFhirCapabilitiesRequest,
    GetFhirPatientHistoryRequest,
    GetFhirPatientRequest,
    GetFhirPatientVersionRequest,
    GetPatientRequest,
    ListPatientRevisionsRequest,
    ListPatientRevisionsResponse,
    ListPatientsRequest,
    ListPatientsResponse,
    Patient,
    UpdateFhirPatientRequest,
    UpdatePatientRequest,
)
from services.common.context import Caller
from services.common.errors import FieldsInvalid
from services.common.postgres.database import Database
from services.common.protobuf import codec
from services.common.protobuf.masks import ALL
from services.common.rpc.conditions import Condition
from services.common.rpc.validation import validate_message
from services.patient.batch import BatchService
from services.patient.domain import PATIENT_CODEC
from services.patient.errors import PatientNotFound, ResourceMalformed, ResourceUnprocessable
from services.patient.fhir.capabilities import build_capabilities
from services.patient.fhir.mapping import Resource, locate, read_patient
from services.patient.fhir.parameters import invalid, record_query
from services.patient.fhir.resources import (
    build_bundle,
    build_history,
    from_stored,
    parse_resource,
    to_body,
    to_resource,
    to_stored,
)
from services.patient.fhir.searches import FhirSearch, next_query, parse_page, parse_search, search_violations
from services.patient.fhir.statements import GET_RESOURCES, GET_VERSION, MAX_PAGE_BYTES
from services.patient.service import PatientService

_CREATE_CODEC = codec.codec_of(CreatePatientRequest)
_REQUEST_CODEC = codec.codec_of(ListPatientsRequest)
_LIST_CODEC = codec.codec_of(ListPatientsResponse)
_REVISIONS_CODEC = codec.codec_of(ListPatientRevisionsResponse)

_PAGE_TOO_LARGE = "the page has more than 4 MiB: request a smaller _count"


class FhirService:
    """Implements the methods of PatientService that take and return resources of FHIR."""

    def __init__(self, db: Database, patients: PatientService, batch: BatchService) -> None:
        """Takes the services that read and change patients."""
        self._db = db
        self._patients = patients
        self._batch = batch
        self._capabilities = to_body(build_capabilities(datetime.now(UTC)))

    async def get_fhir_patient(self, request: GetFhirPatientRequest) -> HttpBody:
        """Returns a patient.

        Raises PatientNotFound.
        """
        patient = await self._patients.get_patient(GetPatientRequest(id=request.id))
        [resource] = await self._to_resources([PATIENT_CODEC.loads(patient.data)])
        return to_body(resource)

    async def find_fhir_patients(self, request: FindFhirPatientsRequest) -> HttpBody:
        """Returns a page of the matches of a search. It can be short, or empty, although it has a next page.

        Raises FieldsInvalid, PageTokenInvalid; RateLimited if too many searches are running.
        """
        search = parse_search(request.parameters)
        record_query(request.parameters)
        patients, page_token = await self._find(search)
        resources = await self._to_resources(patients)
        matches = [each for patient, each in zip(patients, resources, strict=True) if search.matches(patient, each)]
        following = next_query(request.parameters, page_token) if page_token else None
        return _to_page(build_bundle(matches, query=request.parameters, next_query=following))

    async def get_fhir_capabilities(self, request: GetFhirCapabilitiesRequest) -> HttpBody:
        """Returns the CapabilityStatement."""
        return self._capabilities

    async def create_fhir_patient(self, request: CreateFhirPatientRequest, caller: Caller) -> HttpBody:
        """Creates a patient from a resource, once per request id.

        Raises ResourceMalformed, ResourceUnprocessable, and the other failures of CreatePatient.
        """
        resource = parse_resource(request.resource)
        stored = to_stored(resource)
        async with self._check(resource) as patient:
            created = await self._patients.create(patient, caller, request, resource=stored)
        return to_body(to_resource(PATIENT_CODEC.loads(created.data), from_stored(stored)))

    async def update_fhir_patient(
        self, request: UpdateFhirPatientRequest, caller: Caller, condition: Condition
    ) -> HttpBody:
        """Replaces a patient with a resource.

        Raises ResourceMalformed, ResourceUnprocessable, and the other failures of UpdatePatient.
        """
        resource = parse_resource(request.resource)
        if str(resource.get("id", "")).lower() != request.id.lower():
            raise ResourceMalformed({"resource.id": "id must be the ID in the URL"})
        stored = to_stored(resource)
        async with self._check(resource) as patient:
            patient.id = request.id
            mask = FieldMask(paths=[ALL, "restricted"] if patient.restricted else [ALL])
            change = UpdatePatientRequest(patient=patient, update_mask=mask)
            updated = await self._patients.update(change, caller, condition, resource=stored)
        return to_body(to_resource(PATIENT_CODEC.loads(updated.data), from_stored(stored)))

    async def delete_fhir_patient(
        self, request: DeleteFhirPatientRequest, caller: Caller, condition: Condition
    ) -> Empty:
        """Marks a patient as deleted.

        Raises PatientNotFound, EtagMismatch.
        """
        await self._patients.delete_patient(DeletePatientRequest(id=request.id), caller, condition)
        return Empty()

    async def get_fhir_patient_history(self, request: GetFhirPatientHistoryRequest) -> HttpBody:
        """Returns a page of the versions of a patient, deleted or not, newest first.

        Raises FieldsInvalid, PatientNotFound, PageTokenInvalid.
        """
        size, token = parse_page(request.parameters)
        record_query(request.parameters)
        listed = ListPatientRevisionsRequest(id=request.id, page_size=size, page_token=token)
        page = _REVISIONS_CODEC.loads((await self._patients.list_patient_revisions(listed)).data)
        resources = await self._to_resources([each.patient for each in page.revisions if each.patient])
        following = next_query(request.parameters, page.next_page_token) if page.next_page_token else None
        versions = [*zip(page.revisions, resources, strict=True)]
        return _to_page(build_history(versions, request.id, query=request.parameters, next_query=following))

    async def get_fhir_patient_version(self, request: GetFhirPatientVersionRequest) -> HttpBody:
        """Returns a version of a patient, deleted or not.

        Raises PatientNotFound.
        """
        row = await self._db.row(GET_VERSION, id=request.id, version=int(request.version))
        if row is None or (patient := PATIENT_CODEC.loads(row["patient"])).delete_time:
            raise PatientNotFound
        return to_body(to_resource(patient, from_stored(row["resource"])))

    async def _find(self, search: FhirSearch) -> tuple[list[Patient], str]:
        """Returns a page of patients, and the token of the next page."""
        if search.ids is not None:
            found = await self._batch.find(search.ids)
            messages = dict.fromkeys(found[each] for each in search.ids if each in found)  # a survivor once
            return [PATIENT_CODEC.loads(each) for each in messages], ""
        with search_violations():
            validate_message(_REQUEST_CODEC.encode(search.request))
            page = _LIST_CODEC.loads((await self._patients.read_page(search.request, born_from=search.born_from)).data)
        return page.patients, page.next_page_token

    async def _to_resources(self, patients: Sequence[Patient]) -> list[Resource]:
        """Returns versions of patients as resources. Raises FieldsInvalid if they are too large for a message."""
        keys = [(UUID(each.id), int(each.etag)) for each in patients]
        ids, versions = [key[0] for key in keys], [key[1] for key in keys]
        rows = await self._db.rows(GET_RESOURCES, ids=ids, versions=versions)
        if any(row["resource"] is None for row in rows):
            raise invalid(_PAGE_TOO_LARGE)
        stored = {(row["patient_id"], row["revision"]): from_stored(row["resource"]) for row in rows}
        return [to_resource(patient, stored.get(key)) for patient, key in zip(patients, keys, strict=True)]

    @asynccontextmanager
    async def _check(self, resource: Resource) -> AsyncIterator[Patient]:
        """Yields the patient that a resource describes, after checking the rules of the proto.

        Raises ResourceUnprocessable, with the violations of the handler that runs in the context.
        """
        patient = read_patient(resource)
        create = CreatePatientRequest(patient=patient)
        try:
            try:
                validate_message(_CREATE_CODEC.encode(create))
            except FieldsInvalid as failure:
                more = await self._patients.checks.create_patient(create)
                raise FieldsInvalid({**more, **failure.violations}) from None
            yield patient
        except FieldsInvalid as failure:
            fields = {path.removeprefix("patient."): text for path, text in failure.violations.items()}
            raise ResourceUnprocessable(
                {
                    f"resource.{locate(resource, name)}": f"{name.replace('_', ' ')} {text}"
                    for name, text in fields.items()
                }
            ) from None


def _to_page(bundle: Resource) -> HttpBody:
    """Returns a page as the body of a response. Raises FieldsInvalid if it is too large for a message."""
    body = to_body(bundle)
    if len(body.data) > MAX_PAGE_BYTES:
        raise invalid(_PAGE_TOO_LARGE)
    return body
