"""BatchGetPatients: several patients, in the order of their ids, or none."""

from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import BatchGetPatientsRequest, DeletePatientRequest, Patient
from tests.harness.client import Client, Rejected
from tests.harness.tokens import Signer
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.care import User, create_restricted
from tests.patient.factory import create_request


def batch_get(client: Client, *ids: str) -> list[Patient]:
    """Returns the patients with the ids."""
    found: list[Patient] = client.batch_get_patients(BatchGetPatientsRequest(ids=[*ids])).patients
    return found


def test_patients_are_returned_in_the_order_of_the_ids(patients: Client) -> None:
    first, second = (patients.create_patient(create_request()) for _ in range(2))
    assert batch_get(patients, second.id, first.id.upper(), second.id) == [second, first, second]


def test_missing_patient_fails_the_call(patients: Client, admin: Client) -> None:
    patient, deleted, unknown = patients.create_patient(create_request()), None, str(uuid4())
    deleted = patients.create_patient(create_request())
    admin.delete_patient(DeletePatientRequest(id=deleted.id))
    for missing in (unknown, deleted.id):
        with pytest.raises(Rejected) as rejected:
            batch_get(patients, patient.id, missing, str(uuid4()))
        assert (rejected.value.reason, rejected.value.metadata) == ("PATIENT_NOT_FOUND", {"id": missing})


def test_restricted_patient_is_missing_for_others(patients: Client, signer: Signer) -> None:
    member, outsider = User(patients, signer), User(patients, signer)
    restricted = create_restricted(member.client)
    assert batch_get(member.client, restricted.id) == [restricted]
    with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
        batch_get(outsider.client, restricted.id)


@pytest.mark.parametrize("ids", [[], ["x"], [str(uuid4())] * 1001], ids=["none", "not an id", "too many"])
def test_invalid_ids_are_rejected(patients: Client, ids: list[str]) -> None:
    with pytest.raises(Rejected, match="FIELDS_INVALID"):
        batch_get(patients, *ids)


def test_1000_patients_are_returned(patients: Client) -> None:
    patient = patients.create_patient(create_request())
    assert batch_get(patients, *[patient.id] * 1000) == [patient] * 1000


def test_access_events_name_each_patient_once(patients: Client, admin: Client) -> None:
    pair = [patients.create_patient(create_request()) for _ in range(2)]
    batch_get(patients, *(patient.id for patient in pair), pair[0].id)
    for patient in pair:
        assert summarize(wait_for_events(admin, patient.id, 2))[1:] == [("BatchGetPatients", "OK")]
