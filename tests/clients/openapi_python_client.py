"""The journey of a user, with the client of openapi-python-client."""

import os
from uuid import uuid4

from pulsetrack.api.auth import login, sign_up
from pulsetrack.api.patient import create_patient, delete_patient, get_patient, list_patients, update_patient
from pulsetrack.client import AuthenticatedClient, Client
from pulsetrack.models import (
    ErrorInfo,
    ListPatientsResponse,
    LoginRequest,
    Patient,
    PatientChanges,
    PatientInput,
    Role,
    SignUpRequest,
    Status,
    TokenPair,
    User,
)

URL = os.environ["URL"]
anonymous = Client(URL)


def log_in(email: str, password: str) -> AuthenticatedClient:
    tokens = login.sync(client=anonymous, body=LoginRequest(email, password))
    assert isinstance(tokens, TokenPair), tokens
    return AuthenticatedClient(URL, tokens.access_token)


def find_reason(error: object) -> str:
    assert isinstance(error, Status), error
    reasons: list[str] = [detail.reason for detail in error.details if isinstance(detail, ErrorInfo)]
    return reasons[0]


name = str(uuid4())
email = f"{name}@clinic.test"
signed_up = sign_up.sync(client=anonymous, body=SignUpRequest(email, name, "correct horse"))
assert isinstance(signed_up, User), signed_up
assert signed_up.role is Role.ROLE_USER
user = log_in(email, "correct horse")

new = PatientInput("Ana Silva", email, "1 High Street", "1980-02-29", phone="+351 21 000 000")
created = create_patient.sync(client=user, body=new)
assert isinstance(created, Patient), created
assert created.date_of_birth == new.date_of_birth

listed = list_patients.sync(client=user, query=email)
assert isinstance(listed, ListPatientsResponse), listed
assert [patient.id for patient in listed.patients] == [created.id]
empty = list_patients.sync(client=user, query=str(uuid4()))
assert empty == ListPatientsResponse([], ""), empty

patched = update_patient.sync(created.id, client=user, body=PatientChanges(phone=None))
assert isinstance(patched, Patient), patched
assert (patched.phone, patched.name) == ("", "Ana Silva")

invalid = PatientInput("Ana Silva", "x", "1 High Street", "1980-02-29")
assert find_reason(create_patient.sync(client=user, body=invalid)) == "FIELDS_INVALID"
assert find_reason(delete_patient.sync(created.id, client=user)) == "ROLE_REQUIRED"
admin = log_in("admin@pulsetrack.local", os.environ["ADMIN_PASSWORD"])
deleted = delete_patient.sync(created.id, client=admin)
assert isinstance(deleted, Patient), deleted
assert deleted.delete_time
missing = get_patient.sync_detailed(created.id, client=user)
assert missing.status_code == 404
assert find_reason(missing.parsed) == "PATIENT_NOT_FOUND"
