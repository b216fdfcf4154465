"""The RPCs of the FHIR R4 API. They read patients through PatientService, with the same access and audit."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from gen.google.api import HttpBody
from gen.pulsetrack.patient.v1 import (
    FindFhirPatientsRequest,
    GetFhirCapabilitiesRequest,
    GetFhirPatientRequest,
    GetPatientRequest,
    ListPatientsResponse,
    Patient,
)
from services.common.audit.events import current_access, record_read
from services.common.protobuf import codec
from services.patient.domain import PATIENT_CODEC
from services.patient.errors import PatientNotFound
from services.patient.fhir.capabilities import build_capabilities
from services.patient.fhir.resources import build_bundle, to_body, to_resource
from services.patient.fhir.searches import FhirSearch, next_query, parse_search
from services.patient.service import PatientService

_LIST_CODEC = codec.codec_of(ListPatientsResponse)


class FhirService:
    """Implements the methods of PatientService that return resources of FHIR."""

    def __init__(self, patients: PatientService) -> None:
        self._patients = patients
        self._capabilities = to_body(build_capabilities(datetime.now(UTC)))

    async def get_fhir_patient(self, request: GetFhirPatientRequest) -> HttpBody:
        """Returns a patient.

        Raises PatientNotFound.
        """
        return to_body(to_resource(await self._get(request.id)))

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
        if search.ids is None:
            page = _LIST_CODEC.loads((await self._patients.list_patients(search.request)).data)
            return page.patients, page.next_page_token
        found = [await self._get_or_none(each) for each in search.ids]
        return [patient for patient in found if patient], ""

    async def _get_or_none(self, patient_id: str) -> Patient | None:
        try:
            patient = await self._get(str(UUID(patient_id)))
        except (ValueError, PatientNotFound):
            return None
        record_read([UUID(patient.id)])
        return patient

    async def _get(self, patient_id: str) -> Patient:
        return PATIENT_CODEC.loads((await self._patients.get_patient(GetPatientRequest(id=patient_id))).data)
