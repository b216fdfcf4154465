"""AddCareTeamMember, RemoveCareTeamMember and ListCareTeamMembers."""

from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import (
    AddCareTeamMemberRequest,
    ListCareTeamMembersRequest,
    Patient,
    RemoveCareTeamMemberRequest,
)
from tests.harness.client import Client, Rejected
from tests.harness.tokens import USER_ID, Signer
from tests.patient.care import User, add_member, create_restricted
from tests.patient.factory import create_request


@pytest.fixture
def patient(patients: Client) -> Patient:
    """A patient that is not restricted."""
    created: Patient = patients.create_patient(create_request())
    return created


def list_ids(client: Client, patient: Patient) -> list[str]:
    """Returns the ids of the members of a care team, page by page."""
    ids, request = [], ListCareTeamMembersRequest(id=patient.id, page_size=2)
    while True:
        page = client.list_care_team_members(request)
        ids += [member.user_id for member in page.care_team_members]
        if not page.next_page_token:
            return ids
        request.page_token = page.next_page_token


def test_members_are_listed_newest_first(patients: Client, admin: Client, patient: Patient) -> None:
    users = [str(uuid4()) for _ in range(5)]
    for user_id in users:
        admin.add_care_team_member(AddCareTeamMemberRequest(id=patient.id, user_id=user_id))
    assert list_ids(patients, patient) == users[::-1]


def test_creator_of_a_restricted_patient_is_a_member(patients: Client, admin: Client) -> None:
    created = create_restricted(patients)
    assert list_ids(patients, created) == list_ids(admin, created) == [USER_ID]


def test_team_of_another_patient_is_empty(patients: Client, patient: Patient) -> None:
    assert list_ids(patients, patient) == []


def test_adding_a_member_again_changes_nothing(admin: Client, patient: Patient) -> None:
    request = AddCareTeamMemberRequest(id=patient.id, user_id=str(uuid4()))
    first = admin.add_care_team_member(request)
    request.user_id = request.user_id.upper()
    assert admin.add_care_team_member(request) == first
    assert list_ids(admin, patient) == [first.user_id]


def test_member_of_another_team_does_not_see_the_patient(patients: Client, admin: Client, signer: Signer) -> None:
    user, restricted = User(patients, signer), create_restricted(patients)
    add_member(admin, create_restricted(patients), user)
    assert not user.sees(restricted)


def test_removing_another_user_is_not_found(admin: Client, patient: Patient) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND CARE_TEAM_MEMBER_NOT_FOUND"):
        admin.remove_care_team_member(RemoveCareTeamMemberRequest(id=patient.id, user_id=str(uuid4())))


def test_unknown_patient_is_not_found(admin: Client) -> None:
    unknown, user_id = str(uuid4()), str(uuid4())
    for method, request in (
        (admin.add_care_team_member, AddCareTeamMemberRequest(id=unknown, user_id=user_id)),
        (admin.remove_care_team_member, RemoveCareTeamMemberRequest(id=unknown, user_id=user_id)),
        (admin.list_care_team_members, ListCareTeamMembersRequest(id=unknown)),
    ):
        with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
            method(request)


def test_users_cannot_change_a_team(patients: Client, patient: Patient) -> None:
    user_id = str(uuid4())
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        patients.add_care_team_member(AddCareTeamMemberRequest(id=patient.id, user_id=user_id))
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        patients.remove_care_team_member(RemoveCareTeamMemberRequest(id=patient.id, user_id=user_id))
