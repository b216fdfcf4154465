"""Patients to be, and changes of them."""

from typing import Any
from uuid import uuid4

from gen.google.protobuf import FieldMask
from gen.pulsetrack.patient.v1 import CreatePatientRequest, Patient, UpdatePatientRequest

OLD_PATIENTS = (
    "INSERT INTO patients (id, name, email, email_key, address, date_of_birth, registered_date, phone, sex,"
    " medical_record_number, search_key, create_time, update_time, delete_time, sequence)"
    " SELECT id, 'Old', id::text, id::text, '1 Road', '1980-02-29', '2020-01-31', '112', 1, 'MRN-' || sequence, '',"
    " '2020-01-31T10:00:00.123456Z', '2021-01-31T10:00:00Z', CASE WHEN sequence = 3 THEN now() END, sequence"
    " FROM unnest($1::uuid[]) WITH ORDINALITY AS old (id, sequence)"
)
"""Stores a patient for each id, as the first version did: the third one is deleted."""


def a_patient(**fields: Any) -> Patient:
    """Returns a patient that may be created, unlike any other, with the fields given."""
    usual = {
        "name": "Ana Silva",
        "email": f"{uuid4()}@clinic.test",
        "address": "1 High Street",
        "date_of_birth": "1980-02-29",
    }
    return Patient(**(usual | fields))


def create_request(**fields: Any) -> CreatePatientRequest:
    """Returns the request that creates such a patient."""
    return CreatePatientRequest(patient=a_patient(**fields))


def update_request(patient: Patient, *mask: str, **fields: Any) -> UpdatePatientRequest:
    """Returns the request that gives a patient the fields, those that the mask names if it names any."""
    change = Patient(**({"id": patient.id} | fields))
    return UpdatePatientRequest(patient=change, update_mask=FieldMask(paths=list(mask)) if mask else None)
