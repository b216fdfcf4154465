"""DeletePatient."""

from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import DeletePatientRequest, ListPatientsRequest
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.patient.factory import create_request, update_request


def test_the_answer_is_the_patient_as_deleted(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    deleted = admin.delete_patient(DeletePatientRequest(id=created.id))
    assert deleted.delete_time == deleted.update_time > created.update_time
    assert (deleted.id, deleted.email, deleted.create_time) == (created.id, created.email, created.create_time)
    assert deleted.etag != created.etag


def test_the_record_is_kept(patients: Client, admin: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request(phone="112"))
    admin.delete_patient(DeletePatientRequest(id=created.id))
    [row] = sql("SELECT phone, delete_time FROM patients WHERE id = $1", created.id)
    assert row["phone"] == "112"
    assert row["delete_time"]


def test_a_deleted_patient_is_in_no_list(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request(name="Soon Gone"))
    admin.delete_patient(DeletePatientRequest(id=created.id))
    for request in (ListPatientsRequest(), ListPatientsRequest(query="soon gone")):
        assert created.id not in [patient.id for patient in patients.list_patients(request).patients]


def test_a_user_may_not_delete(patients: Client) -> None:
    created = patients.create_patient(create_request())
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        patients.delete_patient(DeletePatientRequest(id=created.id))


def test_the_email_and_the_record_number_stay_taken(patients: Client, admin: Client) -> None:
    fields = {"email": "gone@clinic.test", "medical_record_number": "MRN-GONE"}
    created = patients.create_patient(create_request(**fields))
    admin.delete_patient(DeletePatientRequest(id=created.id))
    with pytest.raises(Rejected, match="ALREADY_EXISTS EMAIL_ALREADY_EXISTS"):
        patients.create_patient(create_request(email="GONE@clinic.test"))
    with pytest.raises(Rejected, match="ALREADY_EXISTS RECORD_NUMBER_ALREADY_EXISTS"):
        patients.create_patient(create_request(medical_record_number="MRN-GONE"))


def test_the_current_etag_is_accepted_and_a_stale_one_is_not(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    changed = patients.update_patient(update_request(created, phone="112"))
    with pytest.raises(Rejected, match="ABORTED ETAG_MISMATCH"):
        admin.delete_patient(DeletePatientRequest(id=created.id, etag=created.etag))
    assert admin.delete_patient(DeletePatientRequest(id=created.id, etag=changed.etag)).delete_time


def test_of_those_who_delete_at_once_one_succeeds(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    deleted, refused = call_concurrently([lambda: admin.delete_patient(DeletePatientRequest(id=created.id))] * 4)
    assert len(deleted) == 1
    assert [refusal.reason for refusal in refused] == ["PATIENT_NOT_FOUND"] * 3


def test_an_unknown_patient_is_not_found(admin: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        admin.delete_patient(DeletePatientRequest(id=str(uuid4())))


def test_what_is_no_uuid_is_refused(admin: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        admin.delete_patient(DeletePatientRequest(id="42", etag="x" * 65))
    assert list(refused.value.violations) == ["id", "etag"]
