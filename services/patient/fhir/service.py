"""The RPCs of the FHIR R4 API. They read patients through PatientService, with the same access and audit."""

from datetime import UTC, datetime

import msgspec

from gen.google.api import HttpBody
from gen.pulsetrack.patient.v1 import (
    FindFhirPatientsRequest,
    GetFhirCapabilitiesRequest,
    GetFhirPatientRequest,
    GetPatientRequest,
    ListPatientsRequest,
    ListPatientsResponse,
    Patient,
)
from services.common.audit.events import current_access
from services.common.protobuf import codec
from services.common.rpc.validation import validate_message
from services.patient.batch import BatchService
from services.patient.domain import PATIENT_CODEC
from services.patient.fhir.capabilities import build_capabilities
from services.patient.fhir.resources import build_bundle, to_body, to_resource
from services.patient.fhir.searches import FhirSearch, next_query, parse_search, search_violations
from services.patient.service import PatientService

_REQUEST_CODEC = codec.codec_of(ListPatientsRequest)
_LIST_CODEC = codec.codec_of(ListPatientsResponse)


class FhirService:
    """Implements the methods of PatientService that return resources of FHIR."""

    def __init__(self, patients: PatientService, batch: BatchService) -> None:
        """Takes the services that read patients."""
        self._patients = patients
        self._batch = batch
        self._capabilities = to_body(build_capabilities(datetime.now(UTC)))

    async def get_fhir_patient(self, request: GetFhirPatientRequest) -> HttpBody:
        """Returns a patient.

        Raises PatientNotFound.
        """
        patient = await self._patients.get_patient(GetPatientRequest(id=request.id))
        return to_body(to_resource(PATIENT_CODEC.loads(patient.data)))

    async def find_fhir_patients(self, request: FindFhirPatientsRequest) -> HttpBody:
        """Returns a page of the matches of a search. It can be short, or empty, although it has a next page.

        Raises FieldsInvalid, PageTokenInvalid; RateLimited if too many searches are running.
        """
        search = parse_search(request.parameters)
        current_access.get().details = msgspec.json.encode({"query": request.parameters[:200]}).decode()
        patients, page_token = await self._find(search)
        matches = [patient for patient in patients if search.matches(patient)]
        following = next_query(request.parameters, page_token) if page_token else None
        return to_body(build_bundle(matches, query=request.parameters, next_query=following))

    async def get_fhir_capabilities(self, request: GetFhirCapabilitiesRequest) -> HttpBody:
        """Returns the CapabilityStatement."""
        return self._capabilities

    async def _find(self, search: FhirSearch) -> tuple[list[Patient], str]:
        """Returns a page of patients, and the token of the next page."""
        if search.ids is not None:
            found = await self._batch.find(search.ids)
            messages = dict.fromkeys(found[each] for each in search.ids if each in found)  # a survivor once
            return [PATIENT_CODEC.loads(each) for each in messages], ""
        with search_violations():
            validate_message(_REQUEST_CODEC.encode(search.request))
            page = _LIST_CODEC.loads((await self._patients.list_patients(search.request)).data)
        return page.patients, page.next_page_token
