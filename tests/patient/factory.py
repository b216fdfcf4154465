"""Patients to be."""

from typing import Any
from uuid import uuid4

from gen.pulsetrack.patient.v1 import CreatePatientRequest, Patient


def a_patient(**fields: Any) -> Patient:
    """Returns a patient that may be created, unlike any other, with the fields given."""
    usual = {
        "name": "Ana Silva",
        "email": f"{uuid4()}@clinic.test",
        "address": "1 High Street",
        "date_of_birth": "1980-02-29",
    }
    return Patient(**(usual | fields))


def creating(**fields: Any) -> CreatePatientRequest:
    """Returns the request that creates such a patient."""
    return CreatePatientRequest(patient=a_patient(**fields))
