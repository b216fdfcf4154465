"""GetPatient."""

from uuid import UUID, uuid4

import pytest

from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    GetPatientRequest,
    ListAccessEventsRequest,
    ListPatientRevisionsRequest,
    Patient,
    UndeletePatientRequest,
    UpdatePatientRequest,
)
from tests.harness.client import Client, Rejected
from tests.patient.factory import create_request


def test_id_is_case_insensitive(patients: Client) -> None:
    created = patients.create_patient(create_request())
    assert patients.get_patient(GetPatientRequest(id=created.id)) == created
    assert patients.get_patient(GetPatientRequest(id=created.id.upper())) == created


def test_upper_case_id_is_accepted_by_every_method(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    upper = created.id.upper()
    assert patients.update_patient(UpdatePatientRequest(patient=Patient(id=upper, phone="112"))).id == created.id
    assert admin.delete_patient(DeletePatientRequest(id=upper)).id == created.id
    assert admin.undelete_patient(UndeletePatientRequest(id=upper)).id == created.id
    revisions = patients.list_patient_revisions(ListPatientRevisionsRequest(id=upper)).revisions
    assert [revision.patient.id for revision in revisions if revision.patient] == [created.id] * 4
    events = admin.list_access_events(ListAccessEventsRequest(id=upper)).access_events
    assert {event.patient_id for event in events} == {created.id}


def test_unknown_id_is_not_found(patients: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.get_patient(GetPatientRequest(id=str(uuid4())))


def test_deleted_patient_is_not_found(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    admin.delete_patient(DeletePatientRequest(id=created.id))
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.get_patient(GetPatientRequest(id=created.id))


@pytest.mark.parametrize("patient_id", ["", "42", "not-a-uuid", f"{UUID(int=7)}x", "' OR true --"])
def test_invalid_id_is_rejected(patients: Client, patient_id: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        patients.get_patient(GetPatientRequest(id=patient_id))
    assert list(rejected.value.violations) == ["id"]
