"""MergePatients: one of two records of the same person is kept, the other one is hidden."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import (
    BatchGetPatientsRequest,
    DeletePatientRequest,
    FindDuplicatesRequest,
    GetFhirPatientRequest,
    ImportOutcome,
    ImportPatientsRequest,
    ListPatientRevisionsRequest,
    ListPatientsRequest,
    MergePatientsRequest,
    Patient,
    PatientMerged,
    RevisionType,
    UndeletePatientRequest,
)
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID, Signer
from tests.harness.waiting import eventually
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.care import REASON, User, add_member, create_restricted
from tests.patient.factory import a_patient, create_request, update_request
from tests.patient.merging import create_pair, get, merge, read_events, unmerge


def list_ids(client: Client, **fields: Any) -> list[str]:
    """Returns the ids of the patients in a list."""
    return [patient.id for patient in client.list_patients(ListPatientsRequest(**fields)).patients]


def restrict(admin: Client, patient: Patient, *, restricted: bool = True) -> None:
    """Restricts a patient, or ends that."""
    admin.update_patient(update_request(patient, "restricted", restricted=restricted))


def test_survivor_is_returned_unchanged(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients)
    assert merge(admin, survivor, merged) == survivor
    assert get(patients, survivor) == survivor


def test_reads_of_the_merged_patient_return_the_survivor(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    assert get(patients, merged) == survivor
    ids = [merged.id, survivor.id]
    assert patients.batch_get_patients(BatchGetPatientsRequest(ids=ids)).patients == [survivor, survivor]
    resource = patients.get_fhir_patient(GetFhirPatientRequest(id=merged.id)).data
    assert resource == patients.get_fhir_patient(GetFhirPatientRequest(id=survivor.id)).data


def test_merged_patient_is_hidden_from_lists(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients, name=uuid4().hex)
    merge(admin, survivor, merged)
    assert list_ids(patients, query=survivor.name) == [survivor.id]
    assert list_ids(patients, page_size=1) == [survivor.id]
    assert patients.find_duplicates(FindDuplicatesRequest(id=survivor.id)).duplicates == []
    listed = patients.list_patients(ListPatientsRequest(query=survivor.name, show_deleted=True)).patients
    assert [patient.merged_into for patient in listed] == [survivor.id, ""]


def test_merge_is_a_revision_and_an_event_of_the_merged_patient(patients: Client, admin: Client, sql: Sql) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    revision, created = patients.list_patient_revisions(ListPatientRevisionsRequest(id=merged.id)).revisions
    assert (revision.type, revision.revision, revision.actor_id) == (RevisionType.MERGED, 2, ADMIN_ID)
    assert created.patient == merged
    after = revision.patient
    assert (after.merged_into, after.delete_time, after.etag) == (survivor.id, revision.occur_time, "2")
    [_, event] = read_events(sql, merged)
    assert event.merged == PatientMerged(patient=after)
    assert (event.sequence, event.actor_id, event.occur_time) == (2, ADMIN_ID, revision.occur_time)
    assert len(read_events(sql, survivor)) == 1


def test_repeated_merge_changes_nothing(patients: Client, admin: Client, sql: Sql) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged, merged_etag=merged.etag)
    assert merge(admin, survivor, merged, merged_etag=merged.etag) == survivor
    assert len(read_events(sql, merged)) == 2


def test_read_follows_several_merges_to_the_last_survivor(patients: Client, admin: Client, sql: Sql) -> None:
    first, second = create_pair(patients)
    third, fourth = create_pair(patients)
    merge(admin, second, first)
    merge(admin, third, second)
    merge(admin, fourth, third)
    for patient in (first, second, third):
        assert get(patients, patient) == fourth
    merges = [event.merged.patient for event in read_events(sql, first) if event.merged]
    assert [patient and patient.merged_into for patient in merges] == [second.id, third.id, fourth.id]


def test_opposite_merges_at_once_leave_one_survivor(patients: Client, admin: Client) -> None:
    for _ in range(5):
        one, other = create_pair(patients)
        merges = [partial(merge, admin, one, other), partial(merge, admin, other, one)] * 2
        responses, rejected = call_concurrently(merges)
        assert responses == [responses[0]] * 2
        assert [error.reason for error in rejected] == ["PATIENT_MERGED"] * 2
        assert get(patients, one) == get(patients, other) == responses[0]


def test_merge_includes_a_concurrent_merge_into_the_merged_patient(patients: Client, admin: Client, sql: Sql) -> None:
    first, second = create_pair(patients)
    third = patients.create_patient(create_request())
    with ThreadPoolExecutor() as threads:
        with sql.hold_locks("LOCK TABLE outbox IN EXCLUSIVE MODE"):
            merges = [threads.submit(merge, admin, second, first)]
            eventually(lambda: sql.count_waiting() == 1)
            merges.append(threads.submit(merge, admin, third, second))
            eventually(lambda: sql.count_waiting() == 2)
        assert [each.result() for each in merges] == [second, third]
    assert get(patients, first) == get(patients, second) == third


@pytest.mark.parametrize("name", ["update", "delete", "undelete"])
def test_changes_of_a_merged_patient_name_the_survivor(patients: Client, admin: Client, name: str) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    changes: dict[str, Callable[[], Patient]] = {
        "update": lambda: patients.update_patient(update_request(merged, phone="112")),
        "delete": lambda: admin.delete_patient(DeletePatientRequest(id=merged.id)),
        "undelete": lambda: admin.undelete_patient(UndeletePatientRequest(id=merged.id)),
    }
    with pytest.raises(Rejected, match="FAILED_PRECONDITION PATIENT_MERGED") as rejected:
        changes[name]()
    assert rejected.value.metadata == {"id": merged.id, "survivor_id": survivor.id}
    assert get(patients, merged) == survivor


def test_merged_patient_cannot_be_merged_elsewhere(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients)
    other = patients.create_patient(create_request())
    merge(admin, survivor, merged)
    for pair in ((other, merged), (merged, other), (merged, survivor)):
        with pytest.raises(Rejected, match="FAILED_PRECONDITION PATIENT_MERGED") as rejected:
            merge(admin, *pair)
        assert rejected.value.metadata == {"id": merged.id, "survivor_id": survivor.id}


def test_patient_cannot_be_merged_into_itself(patients: Client, admin: Client) -> None:
    patient = patients.create_patient(create_request())
    with pytest.raises(Rejected, match="INVALID_ARGUMENT SAME_PATIENT"):
        admin.merge_patients(MergePatientsRequest(id=patient.id, merged_id=patient.id.upper()))


def test_deleted_or_unknown_patient_is_not_found(patients: Client, admin: Client) -> None:
    patient, deleted = create_pair(patients)
    admin.delete_patient(DeletePatientRequest(id=deleted.id))
    for missing in (deleted.id, str(uuid4())):
        for survivor_id, merged_id in ((patient.id, missing), (missing, patient.id)):
            with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND") as rejected:
                admin.merge_patients(MergePatientsRequest(id=survivor_id, merged_id=merged_id))
            assert rejected.value.metadata == {"id": missing}


def test_survivor_that_is_deleted_is_not_found_by_the_merged_id(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    admin.delete_patient(DeletePatientRequest(id=survivor.id))
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        get(patients, merged)
    restored = admin.undelete_patient(UndeletePatientRequest(id=survivor.id))
    assert get(patients, merged) == restored


@pytest.mark.parametrize("field", ["etag", "merged_etag"])
def test_stale_etag_is_rejected(patients: Client, admin: Client, field: str) -> None:
    survivor, merged = create_pair(patients)
    etags = {"etag": survivor.etag, "merged_etag": merged.etag}
    with pytest.raises(Rejected, match="ABORTED ETAG_MISMATCH"):
        merge(admin, survivor, merged, **etags | {field: "0"})
    assert get(patients, merged) == merged
    assert merge(admin, survivor, merged, **etags) == survivor


def test_users_cannot_merge(patients: Client) -> None:
    survivor, merged = create_pair(patients)
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        merge(patients, survivor, merged)


def test_patients_of_which_one_is_restricted_are_not_merged(patients: Client, admin: Client, signer: Signer) -> None:
    patient, restricted = patients.create_patient(create_request()), create_restricted(User(patients, signer).client)
    for pair in ((patient, restricted), (restricted, patient)):
        with pytest.raises(Rejected, match="FAILED_PRECONDITION RESTRICTIONS_DIFFER"):
            merge(admin, *pair)
    assert get(admin, restricted) == restricted


def test_only_the_care_team_of_the_survivor_reads_it(patients: Client, admin: Client, signer: Signer) -> None:
    member, former = User(patients, signer), User(patients, signer)
    survivor, merged = create_restricted(member.client), create_restricted(former.client)
    merge(admin, survivor, merged)
    assert get(member.client, merged) == survivor
    assert not former.sees(merged)
    assert not former.sees(survivor)
    add_member(admin, survivor, former)
    assert get(former.client, merged) == survivor


def test_merged_patient_is_restricted_with_the_survivor(patients: Client, admin: Client, sql: Sql) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    history = ListPatientRevisionsRequest(id=merged.id)
    restrict(admin, survivor)
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.list_patient_revisions(history)
    restrict(admin, survivor, restricted=False)
    types = [revision.type for revision in patients.list_patient_revisions(history).revisions]
    assert types == [RevisionType.UPDATED, RevisionType.UPDATED, RevisionType.MERGED, RevisionType.CREATED]
    changes = [event.updated.patient for event in read_events(sql, merged) if event.updated]
    assert [change and (change.restricted, change.merged_into) for change in changes] == [
        (True, survivor.id),
        (False, survivor.id),
    ]


def test_outsider_does_not_learn_of_a_merge(patients: Client, admin: Client, signer: Signer) -> None:
    survivor, merged = create_restricted(admin), create_restricted(admin)
    merge(admin, survivor, merged)
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.update_patient(update_request(merged, phone="112"))


def test_breaking_glass_for_a_merged_patient_names_the_survivor(
    patients: Client, admin: Client, signer: Signer
) -> None:
    user = User(patients, signer)
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    restrict(admin, survivor)
    with pytest.raises(Rejected, match="FAILED_PRECONDITION PATIENT_MERGED") as rejected:
        user.break_glass(merged, REASON)
    assert rejected.value.metadata == {"id": merged.id, "survivor_id": survivor.id}


def test_email_and_record_number_of_a_merged_patient_are_reserved(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients)
    merged = patients.update_patient(update_request(merged, medical_record_number=f"MRN-{uuid4()}"))
    merge(admin, survivor, merged)
    with pytest.raises(Rejected, match="ALREADY_EXISTS EMAIL_ALREADY_EXISTS"):
        patients.create_patient(create_request(email=merged.email))
    for record, reason in (
        (a_patient(email=merged.email), "EMAIL_ALREADY_EXISTS"),
        (a_patient(medical_record_number=merged.medical_record_number), "RECORD_NUMBER_ALREADY_EXISTS"),
    ):
        [result] = admin.import_patients(ImportPatientsRequest(patients=[record])).results
        assert (result.outcome, result.reason) == (ImportOutcome.REFUSED, reason)


def test_access_events_of_both_patients_name_the_merge(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    for patient in (survivor, merged):
        assert summarize(wait_for_events(admin, patient.id, 2))[1:] == [("MergePatients", "OK")]
    unmerge(admin, merged)
    for patient in (survivor, merged):
        assert summarize(wait_for_events(admin, patient.id, 3))[2:] == [("UnmergePatients", "OK")]


def test_rejected_merge_is_an_access_event_of_both_patients(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients)
    with pytest.raises(Rejected):
        merge(admin, survivor, merged, etag="0")
    for patient in (survivor, merged):
        assert summarize(wait_for_events(admin, patient.id, 2))[1:] == [("MergePatients", "ABORTED")]


def test_read_by_the_merged_id_is_an_access_event_of_the_survivor(patients: Client, admin: Client) -> None:
    survivor, merged = create_pair(patients)
    merge(admin, survivor, merged)
    get(patients, merged)
    patients.batch_get_patients(BatchGetPatientsRequest(ids=[merged.id]))
    for patient in (survivor, merged):
        assert summarize(wait_for_events(admin, patient.id, 4))[2:] == [
            ("GetPatient", "OK"),
            ("BatchGetPatients", "OK"),
        ]
