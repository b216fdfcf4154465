"""Patients and requests for tests."""

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
"""Inserts a patient for each id in the first version of the schema. The third one is deleted."""


OLD_REVISIONS = (
    "INSERT INTO revisions (patient_id, revision, actor_id, occur_time, type, patient)"
    r" SELECT id, sequence, '', update_time, 1, '\x0a24'::bytea || convert_to(id::text, 'UTF8')"
    " FROM patients WHERE id = ANY($1::uuid[])"
)
"""Inserts the revisions of patients of OLD_PATIENTS. Their messages have only the ids: field 1, with 36 bytes."""


def a_patient(**fields: Any) -> Patient:
    """Returns a valid patient with a unique email address and the given fields."""
    defaults = {
        "name": "Ana Silva",
        "email": f"{uuid4()}@clinic.test",
        "address": "1 High Street",
        "date_of_birth": "1980-02-29",
    }
    return Patient(**(defaults | fields))


def create_request(**fields: Any) -> CreatePatientRequest:
    """Returns a request that creates a valid patient with the given fields."""
    return CreatePatientRequest(patient=a_patient(**fields))


def update_request(patient: Patient, *mask: str, **fields: Any) -> UpdatePatientRequest:
    """Returns a request that sets fields of a patient. Without paths, the request has no mask."""
    change = Patient(**({"id": patient.id} | fields))
    return UpdatePatientRequest(patient=change, update_mask=FieldMask(paths=list(mask)) if mask else None)
