"""UnmergePatients."""

from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    ListPatientRevisionsRequest,
    PatientUnmerged,
    RevisionType,
    UnmergePatientsRequest,
)
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID
from tests.patient.factory import create_request, update_request
from tests.patient.merging import create_pair, get, merge, read_events, unmerge


def test_patient_is_restored_as_it_was_before(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients, phone="112", medical_record_number="")
    merge(admin, survivor, merged)
    unmerged = unmerge(admin, merged)
    assert unmerged.etag == "3"
    unmerged.etag, unmerged.update_time = merged.etag, merged.update_time
    assert unmerged == merged
    assert get(patients, survivor) == survivor


def test_unmerge_is_a_revision_and_an_event(patients: Client, admin: Client, sql: Sql) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    unmerged = unmerge(admin, merged)
    [revision, *_] = patients.list_patient_revisions(ListPatientRevisionsRequest(id=merged.id)).revisions
    assert (revision.type, revision.patient) == (RevisionType.UNMERGED, unmerged)
    event = read_events(sql, merged)[-1]
    assert event.unmerged == PatientUnmerged(patient=unmerged)
    assert (event.sequence, event.actor_id, event.occur_time) == (3, ADMIN_ID, unmerged.update_time)


def test_unmerged_patient_can_be_changed_and_merged_again(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    unmerge(admin, merged)
    assert patients.update_patient(update_request(merged, phone="112")).phone == "112"
    merge(admin, survivor, merged)
    assert get(patients, merged) == survivor


def test_patient_in_a_chain_is_unmerged_from_the_last_survivor(patients: Client, admin: Client) -> None:
    first, second = create_pair(patients)
    third = patients.create_patient(create_request())
    merge(admin, second, first)
    merge(admin, third, second)
    unmerge(admin, second)
    assert get(patients, second).id == second.id
    assert get(patients, first) == third
    unmerge(admin, first)
    assert get(patients, first).id == first.id


def test_patient_that_is_not_merged_is_returned_unchanged(patients: Client, admin: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    assert unmerge(admin, created) == created
    assert len(read_events(sql, created)) == 1


def test_concurrent_unmerges_change_the_patient_once(patients: Client, admin: Client, sql: Sql) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    responses, rejected = call_concurrently([lambda: unmerge(admin, merged)] * 4)
    assert rejected == []
    assert responses == responses[:1] * 4
    assert len(read_events(sql, merged)) == 3


def test_deleted_or_unknown_patient_is_not_found(patients: Client, admin: Client) -> None:
    deleted = patients.create_patient(create_request())
    admin.delete_patient(DeletePatientRequest(id=deleted.id))
    for patient_id in (deleted.id, str(uuid4())):
        with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
            admin.unmerge_patients(UnmergePatientsRequest(id=patient_id))


def test_users_cannot_unmerge(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        unmerge(patients, merged)
