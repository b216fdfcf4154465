"""BreakGlass: access to a restricted patient for an hour, with a reason."""

from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import BreakGlassRequest, ListAccessEventsRequest, ListPatientsRequest, Patient
from services.patient.care_team import MAX_BROKEN
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.patient.access_events import wait_for_events
from tests.patient.care import REASON, User, add_member, create_restricted, remove_member
from tests.patient.factory import create_request, update_request
from tests.patient.test_watch_patients import ids_of, read_changes, watch

EXPIRE = "UPDATE patient_grants SET expire_time = now() WHERE patient_id = $1 AND expire_time IS NOT NULL"


@pytest.fixture
def outsider(patients: Client, signer: Signer) -> User:
    """A user outside of every care team."""
    return User(patients, signer)


@pytest.fixture
def patient(patients: Client) -> Patient:
    """A restricted patient."""
    return create_restricted(patients)


def test_caller_has_access_for_an_hour(outsider: User, patient: Patient, sql: Sql) -> None:
    broken = outsider.break_glass(patient)
    assert abs(broken.expire_time - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    assert outsider.sees(patient)
    assert outsider.client.list_patients(ListPatientsRequest(query=patient.email)).patients == [patient]
    sql(EXPIRE, patient.id)
    assert not outsider.sees(patient)
    assert outsider.client.list_patients(ListPatientsRequest(query=patient.email)).patients == []


def test_another_user_does_not_get_access(outsider: User, patient: Patient, patients: Client, signer: Signer) -> None:
    outsider.break_glass(patient)
    assert not User(patients, signer).sees(patient)


def test_access_can_be_renewed(outsider: User, patient: Patient, sql: Sql) -> None:
    outsider.break_glass(patient)
    sql(EXPIRE, patient.id)
    outsider.break_glass(patient)
    assert outsider.sees(patient)


def test_running_watch_shows_changes_until_access_expires(
    outsider: User, patient: Patient, patients: Client, sql: Sql
) -> None:
    def change(*expected: str) -> None:
        """Changes the patient and then another one, and checks which of the changes are sent."""
        patients.update_patient(update_request(patient, name=uuid4().hex))
        visible = patients.create_patient(create_request())
        assert ids_of(read_changes(stream, len(expected) + 1)) == [*expected, visible.id]

    with watch(outsider.client) as (stream, _):
        outsider.break_glass(patient)
        change(patient.id)
        sql(EXPIRE, patient.id)
        change()


def test_access_event_contains_the_reason(outsider: User, patient: Patient, admin: Client) -> None:
    outsider.break_glass(patient, reason='Says "no allergies"')
    [event] = [
        event
        for event in admin.list_access_events(ListAccessEventsRequest(id=patient.id)).access_events
        if event.actor_id == outsider.id
    ]
    assert event.method == "pulsetrack.patient.v1.PatientService/BreakGlass"
    assert (event.query, event.outcome) == ('{"reason":"Says \\"no allergies\\""}', "OK")


def test_rejected_call_is_recorded_with_its_reason(outsider: User, patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    with pytest.raises(Rejected, match="FAILED_PRECONDITION BREAK_GLASS_NOT_NEEDED"):
        outsider.break_glass(created)
    event = wait_for_events(admin, created.id, 2)[-1]
    assert (event.outcome, REASON in event.query) == ("FAILED_PRECONDITION", True)


def test_members_and_admins_need_no_access(outsider: User, patient: Patient, admin: Client) -> None:
    add_member(admin, patient, outsider)
    with pytest.raises(Rejected, match="FAILED_PRECONDITION BREAK_GLASS_NOT_NEEDED"):
        outsider.break_glass(patient)
    with pytest.raises(Rejected, match="FAILED_PRECONDITION BREAK_GLASS_NOT_NEEDED"):
        admin.break_glass(BreakGlassRequest(id=patient.id, reason=REASON))


def test_member_keeps_access_after_breaking_glass(outsider: User, patient: Patient, admin: Client, sql: Sql) -> None:
    outsider.break_glass(patient)
    add_member(admin, patient, outsider)
    sql(EXPIRE, patient.id)
    assert outsider.sees(patient)


def test_admin_ends_the_access(outsider: User, patient: Patient, admin: Client) -> None:
    outsider.break_glass(patient)
    remove_member(admin, patient, outsider)
    assert not outsider.sees(patient)


def test_unknown_patient_is_not_found(outsider: User) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        outsider.break_glass(Patient(id=str(uuid4())))


INVALID_REASONS = [
    "",
    "too short",
    " " * 20,
    "\u200b" * 20,
    "\u2800" * 20,
    "x" * 501,
    "ten\nletters",
    "turned \u202etext",
]


@pytest.mark.parametrize("reason", INVALID_REASONS)
def test_invalid_reason_is_rejected(outsider: User, patient: Patient, reason: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        outsider.break_glass(patient, reason)
    assert list(rejected.value.violations) == ["reason"]
    assert not outsider.sees(patient)


def test_calls_for_many_patients_are_limited(outsider: User, patients: Client) -> None:
    restricted = [create_restricted(patients) for _ in range(MAX_BROKEN + 2)]
    _, rejected = call_concurrently([partial(outsider.break_glass, each) for each in restricted])
    assert [each.reason for each in rejected] == ["RATE_LIMITED"] * 2
    [first, *_] = [each for each in restricted if outsider.sees(each)]
    outsider.break_glass(first)  # a patient for whom the caller has broken glass is not counted again
