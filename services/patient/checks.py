"""The violations that handlers of the patient service report. They complete those of an invalid request."""

from collections.abc import Mapping
from datetime import UTC, datetime

from gen.pulsetrack.patient.v1 import (
    CreatePatientRequest,
    ExportPatientsRequest,
    ListPatientsRequest,
    Patient,
    UpdatePatientRequest,
)
from services.patient.domain import (
    find_change_violations,
    find_patient_violations,
    latest_date,
    normalize_patient,
)
from services.patient.listing import find_date_violations, find_listing_violations


class PatientChecks:
    """Finds violations without the database."""

    async def create_patient(self, request: CreatePatientRequest) -> Mapping[str, str]:
        """Returns the violations of a new patient."""
        now = datetime.now(UTC)
        patient = normalize_patient(request.patient or Patient(), default_registered_date=now.date())
        return find_patient_violations(patient, today=latest_date(now))

    async def update_patient(self, request: UpdatePatientRequest) -> Mapping[str, str]:
        """Returns the violations of a change."""
        mask = request.update_mask.paths if request.update_mask else None
        return find_change_violations(request.patient or Patient(), mask, today=latest_date(datetime.now(UTC)))

    async def list_patients(self, request: ListPatientsRequest) -> Mapping[str, str]:
        """Returns the violations of the filters."""
        return find_listing_violations(request)

    async def export_patients(self, request: ExportPatientsRequest) -> Mapping[str, str]:
        """Returns the violations of the filters."""
        return find_date_violations(request)
