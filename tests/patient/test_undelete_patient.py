"""UndeletePatient."""

from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    GetPatientRequest,
    ListPatientsRequest,
    Patient,
    PatientEvent,
    UndeletePatientRequest,
)
from services.common.protobuf import codec
from services.patient.changes import TOPIC
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID
from tests.patient.factory import create_request

EVENTS = "SELECT type, payload FROM outbox WHERE key = $1 AND destination = $2 ORDER BY id"


@pytest.fixture
def deleted(patients: Client, admin: Client) -> Patient:
    """A deleted patient."""
    created = patients.create_patient(create_request())
    patient: Patient = admin.delete_patient(DeletePatientRequest(id=created.id))
    return patient


def test_response_is_the_restored_patient(admin: Client, patients: Client, deleted: Patient) -> None:
    undeleted = admin.undelete_patient(UndeletePatientRequest(id=deleted.id))
    assert undeleted.delete_time is None
    assert undeleted.update_time > deleted.update_time
    assert undeleted.etag != deleted.etag
    assert (undeleted.id, undeleted.email, undeleted.create_time) == (deleted.id, deleted.email, deleted.create_time)
    assert patients.get_patient(GetPatientRequest(id=deleted.id)) == undeleted
    assert patients.list_patients(ListPatientsRequest(page_size=1)).patients == [undeleted]


def test_undeletion_publishes_an_event(admin: Client, deleted: Patient, sql: Sql) -> None:
    undeleted = admin.undelete_patient(UndeletePatientRequest(id=deleted.id))
    row = sql(EVENTS, deleted.id, TOPIC)[-1]
    event = codec.codec_of(PatientEvent).loads(row["payload"])
    assert row["type"] == "pulsetrack.patient.v1.PatientUndeleted"
    assert event.undeleted
    assert event.undeleted.patient == undeleted
    assert (event.sequence, event.actor_id, event.occur_time) == (3, ADMIN_ID, undeleted.update_time)


def test_patient_that_is_not_deleted_is_returned_unchanged(admin: Client, patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    assert admin.undelete_patient(UndeletePatientRequest(id=created.id)) == created
    assert len(sql(EVENTS, created.id, TOPIC)) == 1


def test_concurrent_undeletes_change_the_patient_once(admin: Client, deleted: Patient, sql: Sql) -> None:
    responses, rejected = call_concurrently([lambda: admin.undelete_patient(UndeletePatientRequest(id=deleted.id))] * 4)
    assert rejected == []
    assert responses == responses[:1] * 4
    assert len(sql(EVENTS, deleted.id, TOPIC)) == 3


def test_restored_patient_can_be_deleted_again(admin: Client, deleted: Patient) -> None:
    admin.undelete_patient(UndeletePatientRequest(id=deleted.id))
    assert admin.delete_patient(DeletePatientRequest(id=deleted.id)).delete_time > deleted.delete_time


def test_users_cannot_undelete(patients: Client, deleted: Patient) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        patients.undelete_patient(UndeletePatientRequest(id=deleted.id))


def test_unknown_patient_is_not_found(admin: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        admin.undelete_patient(UndeletePatientRequest(id=str(uuid4())))


def test_invalid_id_is_rejected(admin: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.undelete_patient(UndeletePatientRequest(id="42"))
    assert list(rejected.value.violations) == ["id"]
