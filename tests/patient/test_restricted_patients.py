"""Restricted patients: for callers without access, they do not exist."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from gen.google.protobuf import FieldMask
from gen.pulsetrack.patient.v1 import (
    AddCareTeamMemberRequest,
    CreatePatientRequest,
    DeletePatientRequest,
    GetPatientAccessRequest,
    GetPatientRequest,
    ListCareTeamMembersRequest,
    ListPatientRevisionsRequest,
    ListPatientsRequest,
    ListPatientsResponse,
    Patient,
    PatientAccess,
    PatientEvent,
    UpdatePatientRequest,
    WatchPatientsRequest,
)
from services.common.protobuf import codec
from services.common.protobuf.masks import ALL
from services.patient.changes import TOPIC
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.patient.care import User, add_member, create_restricted, remove_member
from tests.patient.factory import a_patient, create_request, update_request
from tests.patient.test_watch_patients import ids_of, read_changes, watch


@pytest.fixture
def member(patients: Client, signer: Signer) -> User:
    """A user who creates the restricted patient."""
    return User(patients, signer)


@pytest.fixture
def outsider(patients: Client, signer: Signer) -> User:
    """A user outside of the care team."""
    return User(patients, signer)


@pytest.fixture
def patient(member: User) -> Patient:
    """A restricted patient with a name that no other patient has."""
    return create_restricted(member.client, name=f"Zoe {uuid4().hex}")


def test_email_finds_the_patient_only_for_its_care_team(member: User, outsider: User, patient: Patient) -> None:
    request = ListPatientsRequest(query=patient.email)
    assert member.client.list_patients(request).patients == [patient]
    assert outsider.client.list_patients(request) == ListPatientsResponse()


def test_creator_and_admins_see_the_patient(member: User, admin: Client, patient: Patient) -> None:
    assert patient.restricted
    assert member.client.get_patient(GetPatientRequest(id=patient.id)) == patient
    assert admin.get_patient(GetPatientRequest(id=patient.id)) == patient


def test_members_see_the_patient_until_they_are_removed(admin: Client, outsider: User, patient: Patient) -> None:
    assert not outsider.sees(patient)
    add_member(admin, patient, outsider)
    assert outsider.sees(patient)
    remove_member(admin, patient, outsider)
    assert not outsider.sees(patient)


READS: dict[str, Callable[[Client, str], Any]] = {
    "get": lambda client, patient_id: client.get_patient(GetPatientRequest(id=patient_id)),
    "revisions": lambda client, patient_id: client.list_patient_revisions(ListPatientRevisionsRequest(id=patient_id)),
    "care team": lambda client, patient_id: client.list_care_team_members(ListCareTeamMembersRequest(id=patient_id)),
    "update": lambda client, patient_id: client.update_patient(
        UpdatePatientRequest(patient=Patient(id=patient_id, phone="112"))
    ),
    "update with a stale etag": lambda client, patient_id: client.update_patient(
        UpdatePatientRequest(patient=Patient(id=patient_id, phone="112", etag="0"))
    ),
    "update without effect": lambda client, patient_id: client.update_patient(
        UpdatePatientRequest(patient=Patient(id=patient_id, address="1 High Street"))
    ),
    "unrestrict": lambda client, patient_id: client.update_patient(
        UpdatePatientRequest(patient=Patient(id=patient_id), update_mask=FieldMask(paths=["restricted"]))
    ),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_outsider_gets_the_answer_for_an_unknown_id(
    outsider: User, patient: Patient, read: Callable[[Client, str], Any]
) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND") as unknown:
        read(outsider.client, str(uuid4()))
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND") as restricted:
        read(outsider.client, patient.id)
    assert restricted.value.message == unknown.value.message


LISTS: dict[str, dict[str, Any]] = {
    "newest": {},
    "with deleted": {"show_deleted": True},
    "by name": {"order_by": "name desc"},
    "by two fields": {"order_by": "name,create_time"},
    "of a sex": {"sex": 2},
    "born": {"born_after": "1980-01-01", "born_before": "1981-01-01"},
    "registered": {"registered_after": "2020-01-01"},
}


@pytest.mark.parametrize("query", LISTS.values(), ids=LISTS)
def test_lists_omit_the_patient(member: User, outsider: User, query: dict[str, Any]) -> None:
    patient = create_restricted(member.client, name=f"zz {uuid4().hex}", sex=2)
    for user, is_listed in ((member, True), (outsider, False)):
        page = user.client.list_patients(ListPatientsRequest(page_size=1000, **query))
        assert (patient.id in [each.id for each in page.patients]) is is_listed


@pytest.mark.parametrize("order_by", ["", "name"])
@pytest.mark.parametrize("part", [slice(None), slice(4, 20), slice(0, 3)], ids=["all words", "part", "frequent"])
def test_searches_omit_the_patient(member: User, outsider: User, patient: Patient, part: slice, order_by: str) -> None:
    request = ListPatientsRequest(query=patient.name[part], order_by=order_by, page_size=1000)
    assert patient.id in [each.id for each in member.client.list_patients(request).patients]
    assert patient.id not in [each.id for each in outsider.client.list_patients(request).patients]


def test_restricted_patient_does_not_hide_one_whose_record_number_is_its_email(
    member: User, outsider: User, patient: Patient
) -> None:
    other = member.client.create_patient(create_request(medical_record_number=patient.email))
    found = outsider.client.list_patients(ListPatientsRequest(query=patient.email))
    assert [each.id for each in found.patients] == [other.id]


def test_page_tokens_do_not_depend_on_the_patient(member: User, outsider: User, patients: Client) -> None:
    name = f"zz {uuid4().hex}"
    first = patients.create_patient(create_request(name=f"{name} 1"))
    request = ListPatientsRequest(query=name, order_by="name", page_size=1)
    before = outsider.client.list_patients(request)
    create_restricted(member.client, name=f"{name} 2")
    after = outsider.client.list_patients(request)
    assert (before, before.patients) == (after, [first])
    assert after.next_page_token == ""


def test_deleted_patient_stays_invisible(member: User, outsider: User, admin: Client, patient: Patient) -> None:
    admin.delete_patient(DeletePatientRequest(id=patient.id))
    with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
        outsider.client.list_patient_revisions(ListPatientRevisionsRequest(id=patient.id))
    assert member.client.list_patient_revisions(ListPatientRevisionsRequest(id=patient.id)).revisions


def test_repeated_create_is_not_found_after_access_ends(member: User, admin: Client) -> None:
    request = CreatePatientRequest(patient=a_patient(restricted=True), request_id=str(uuid4()))
    created = member.client.create_patient(request)
    assert member.client.create_patient(request) == created
    remove_member(admin, created, member)
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        member.client.create_patient(request)


def test_email_stays_reserved(outsider: User, patient: Patient) -> None:
    with pytest.raises(Rejected, match="ALREADY_EXISTS EMAIL_ALREADY_EXISTS"):
        outsider.client.create_patient(create_request(email=patient.email))


def test_admin_restricts_and_unrestricts(admin: Client, outsider: User, patients: Client) -> None:
    created = patients.create_patient(create_request())
    restricted = admin.update_patient(update_request(created, restricted=True))
    assert restricted.restricted
    assert not outsider.sees(created)
    admin.update_patient(update_request(created, "restricted", restricted=False))
    assert outsider.sees(created)


@pytest.mark.parametrize("restricted", [True, False])
def test_users_cannot_change_the_restriction(member: User, *, restricted: bool) -> None:
    created = member.client.create_patient(create_request(restricted=not restricted))
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        member.client.update_patient(update_request(created, "restricted", restricted=restricted))


@pytest.mark.parametrize("mask", [[ALL], [ALL, "name"]], ids=["all", "all and a name"])
def test_mask_for_all_fields_keeps_the_restriction(admin: Client, patient: Patient, mask: list[str]) -> None:
    change = replace(a_patient(name="Replaced"), id=patient.id)
    updated = admin.update_patient(UpdatePatientRequest(patient=change, update_mask=FieldMask(paths=mask)))
    assert (updated.name, updated.restricted) == ("Replaced", True)


def test_events_carry_the_restriction(patient: Patient, sql: Sql) -> None:
    rows = sql("SELECT destination, payload FROM outbox WHERE key = $1", patient.id)
    event = codec.codec_of(PatientEvent).loads(rows[0]["payload"])
    assert event.created
    assert event.created.patient == patient
    assert {row["destination"] for row in rows} == {TOPIC, "billing"}


def test_billing_receives_a_changed_restriction(admin: Client, patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    admin.update_patient(update_request(created, restricted=True))
    rows = sql("SELECT destination FROM outbox WHERE key = $1", created.id)
    assert len([row for row in rows if row["destination"] == "billing"]) == 2


def test_patient_access_lists_the_restricted_patients_of_the_caller(
    member: User, outsider: User, admin: Client, patient: Patient
) -> None:
    open_patient = member.client.create_patient(create_request())
    add_member(admin, open_patient, member)
    request = GetPatientAccessRequest()
    assert member.client.get_patient_access(request) == PatientAccess(patient_ids=[patient.id])
    assert outsider.client.get_patient_access(request) == PatientAccess()
    assert admin.get_patient_access(request) == PatientAccess(all_patients=True)


def test_watches_omit_the_patient(member: User, outsider: User, patients: Client) -> None:
    with watch(member.client) as (members, _), watch(outsider.client) as (outsiders, begin):
        patient = create_restricted(member.client)
        visible = patients.create_patient(create_request())
        assert ids_of(read_changes(members, 2)) == [patient.id, visible.id]
        assert ids_of(read_changes(outsiders, 1)) == [visible.id]
    with watch(outsider.client, begin) as (resumed, _):
        assert ids_of(read_changes(resumed, 1)) == [visible.id]


def test_watch_withholds_earlier_changes_once_the_patient_is_restricted(
    member: User, outsider: User, admin: Client
) -> None:
    with watch(outsider.client) as (_, begin), watch(member.client) as (members, _):
        patient = member.client.create_patient(create_request())
        admin.update_patient(update_request(patient, restricted=True))
        visible = member.client.create_patient(create_request())
        while ids_of(read_changes(members, 1)) != [visible.id]:
            pass
        with watch(outsider.client, begin) as (resumed, _):
            assert ids_of(read_changes(resumed, 1)) == [visible.id]


def test_running_watch_follows_access(member: User, outsider: User, admin: Client, patient: Patient) -> None:
    def change(*expected: str) -> None:
        """Changes the patient and then another one, and checks which of the changes are sent."""
        member.client.update_patient(update_request(patient, name=uuid4().hex))
        visible = member.client.create_patient(create_request())
        assert ids_of(read_changes(stream, len(expected) + 1)) == [*expected, visible.id]

    with watch(outsider.client) as (stream, _):
        change()
        add_member(admin, patient, outsider)
        change(patient.id)
        remove_member(admin, patient, outsider)
        change()


def test_watch_sends_heartbeats_while_only_invisible_changes_occur(member: User, outsider: User) -> None:
    patient = create_restricted(member.client)
    with outsider.client.watch_patients(WatchPatientsRequest()) as stream:
        next(stream)
        for number in range(3):
            member.client.update_patient(update_request(patient, name=f"Ana {number}"))
            assert next(stream).revision is None


def test_change_of_a_member_is_recorded(admin: Client, member: User, sql: Sql, patient: Patient) -> None:
    admin.add_care_team_member(AddCareTeamMemberRequest(id=patient.id, user_id=member.id))
    rows = sql("SELECT method, outcome FROM access_events WHERE patient_ids = ARRAY[$1::uuid] ORDER BY id", patient.id)
    assert rows[-1]["method"].endswith("/AddCareTeamMember")
    assert rows[-1]["outcome"] == "OK"
