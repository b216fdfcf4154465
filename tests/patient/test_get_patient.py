"""GetPatient."""

from uuid import UUID, uuid4

import pytest

from gen.pulsetrack.patient.v1 import DeletePatientRequest, GetPatientRequest
from tests.harness.client import Client, Rejected
from tests.patient.factory import create_request


def test_a_patient_is_found_by_its_id_in_either_case(patients: Client) -> None:
    created = patients.create_patient(create_request())
    assert patients.get_patient(GetPatientRequest(id=created.id)) == created
    assert patients.get_patient(GetPatientRequest(id=created.id.upper())) == created


def test_an_unknown_id_is_not_found(patients: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.get_patient(GetPatientRequest(id=str(uuid4())))


def test_a_deleted_patient_is_not_found(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    admin.delete_patient(DeletePatientRequest(id=created.id))
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.get_patient(GetPatientRequest(id=created.id))


@pytest.mark.parametrize("patient_id", ["", "42", "not-a-uuid", f"{UUID(int=7)}x", "' OR true --"])
def test_what_is_no_uuid_is_refused(patients: Client, patient_id: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        patients.get_patient(GetPatientRequest(id=patient_id))
    assert list(refused.value.violations) == ["id"]
