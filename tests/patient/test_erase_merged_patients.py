"""ErasePatient for merged patients and their survivors."""

import pytest

from gen.pulsetrack.patient.v1 import Patient, UndeletePatientRequest
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.erasing import request_erasure
from tests.patient.merging import create_pair, merge, unmerge


@pytest.fixture
def pair(patients: Client, admin: Client) -> tuple[Patient, Patient]:
    """A survivor, and a patient that is merged into it."""
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    return survivor, merged


def find_erasures(sql: Sql, *patients: Patient) -> set[str]:
    """Returns the ids of the patients whose erasures are scheduled."""
    rows = sql("SELECT patient_id FROM erasures WHERE patient_id = ANY($1::uuid[])", [each.id for each in patients])
    return {str(row["patient_id"]) for row in rows}


def test_merged_patients_are_erased_with_the_survivor(admin: Client, sql: Sql, pair: tuple[Patient, Patient]) -> None:
    survivor, merged = pair
    request_erasure(admin, survivor)
    assert find_erasures(sql, *pair) == {survivor.id, merged.id}
    for patient in pair:
        assert summarize(wait_for_events(admin, patient.id, 3))[2:] == [("ErasePatient", "OK")]


def test_undeletion_of_the_survivor_cancels_all_erasures(
    admin: Client, sql: Sql, pair: tuple[Patient, Patient]
) -> None:
    request_erasure(admin, pair[0])
    admin.undelete_patient(UndeletePatientRequest(id=pair[0].id))
    assert find_erasures(sql, *pair) == set()


def test_unmerge_cancels_the_erasure_of_the_merged_patient(
    admin: Client, sql: Sql, pair: tuple[Patient, Patient]
) -> None:
    survivor, merged = pair
    request_erasure(admin, survivor)
    unmerge(admin, merged)
    assert find_erasures(sql, *pair) == {survivor.id}


def test_erasure_of_a_merged_patient_names_the_survivor(admin: Client, sql: Sql, pair: tuple[Patient, Patient]) -> None:
    survivor, merged = pair
    with pytest.raises(Rejected, match="FAILED_PRECONDITION PATIENT_MERGED") as rejected:
        request_erasure(admin, merged)
    assert rejected.value.metadata == {"id": merged.id, "survivor_id": survivor.id}
    assert find_erasures(sql, *pair) == set()
