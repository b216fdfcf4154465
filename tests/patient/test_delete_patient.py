"""DeletePatient."""

from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import DeletePatientRequest, ListPatientsRequest
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.patient.factory import create_request, update_request


def test_response_is_the_deleted_patient(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    deleted = admin.delete_patient(DeletePatientRequest(id=created.id))
    assert deleted.delete_time == deleted.update_time > created.update_time
    assert (deleted.id, deleted.email, deleted.create_time) == (created.id, created.email, created.create_time)
    assert deleted.etag != created.etag


def test_deleted_record_is_retained(patients: Client, admin: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request(phone="112"))
    admin.delete_patient(DeletePatientRequest(id=created.id))
    [row] = sql("SELECT phone, delete_time FROM patients WHERE id = $1", created.id)
    assert row["phone"] == "112"
    assert row["delete_time"]


def test_deleted_patient_is_not_listed(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request(name="Soon Gone"))
    admin.delete_patient(DeletePatientRequest(id=created.id))
    for request in (ListPatientsRequest(), ListPatientsRequest(query="soon gone")):
        assert created.id not in [patient.id for patient in patients.list_patients(request).patients]


def test_users_cannot_delete(patients: Client) -> None:
    created = patients.create_patient(create_request())
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        patients.delete_patient(DeletePatientRequest(id=created.id))


def test_email_and_record_number_remain_reserved(patients: Client, admin: Client) -> None:
    fields = {"email": "gone@clinic.test", "medical_record_number": "MRN-GONE"}
    created = patients.create_patient(create_request(**fields))
    admin.delete_patient(DeletePatientRequest(id=created.id))
    with pytest.raises(Rejected, match="ALREADY_EXISTS EMAIL_ALREADY_EXISTS"):
        patients.create_patient(create_request(email="GONE@clinic.test"))
    with pytest.raises(Rejected, match="ALREADY_EXISTS RECORD_NUMBER_ALREADY_EXISTS"):
        patients.create_patient(create_request(medical_record_number="MRN-GONE"))


def test_current_etag_is_accepted_and_stale_etag_rejected(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    changed = patients.update_patient(update_request(created, phone="112"))
    with pytest.raises(Rejected, match="ABORTED ETAG_MISMATCH"):
        admin.delete_patient(DeletePatientRequest(id=created.id, etag=created.etag))
    assert admin.delete_patient(DeletePatientRequest(id=created.id, etag=changed.etag)).delete_time


def test_one_of_concurrent_deletes_succeeds(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    deleted, rejected = call_concurrently([lambda: admin.delete_patient(DeletePatientRequest(id=created.id))] * 4)
    assert len(deleted) == 1
    assert [rejection.reason for rejection in rejected] == ["PATIENT_NOT_FOUND"] * 3


def test_unknown_patient_is_not_found(admin: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        admin.delete_patient(DeletePatientRequest(id=str(uuid4())))


def test_invalid_id_and_etag_are_rejected(admin: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.delete_patient(DeletePatientRequest(id="42", etag="x" * 65))
    assert list(rejected.value.violations) == ["id", "etag"]
