"""ErasePatient: the request, and what is left of an erased patient in the patient service."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import asyncpg
import pytest

from gen.pulsetrack.patient.v1 import (
    BatchGetPatientsRequest,
    BreakGlassRequest,
    CreatePatientRequest,
    DeletePatientRequest,
    FindDuplicatesRequest,
    GetPatientRequest,
    ListAccessEventsRequest,
    ListCareTeamMembersRequest,
    ListPatientRevisionsRequest,
    ListPatientsRequest,
    Patient,
    PatientEvent,
    RevisionType,
    UndeletePatientRequest,
    WatchPatientsResponse,
)
from services.common.protobuf import codec
from services.patient.changes import TOPIC
from services.patient.models import revisions
from tests.conftest import role_of
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID, Signer
from tests.patient.access_events import SERVICE
from tests.patient.care import User, add_member, create_restricted
from tests.patient.erasing import DELIVER, EXECUTED, MAKE_DUE, REASON, dump, erase, request_erasure, run_eraser
from tests.patient.factory import a_patient, create_request, update_request
from tests.patient.fhir_resources import a_resource
from tests.patient.fhir_resources import create as create_resource
from tests.patient.fhir_resources import update as update_resource
from tests.patient.test_watch_patients import ids_of, read_changes, watch

ERASE_REVISIONS = "SELECT erase_revisions($1::uuid)"


@pytest.fixture(scope="module")
def service_url(database_url: str) -> str:
    """The database, with the role of the service."""
    return f"{database_url}?role={role_of('patient')}"


@pytest.fixture(scope="module")
def service_sql(background: Background, service_url: str) -> Sql:
    """Runs statements with the role of the service."""
    return Sql(background, service_url)


@pytest.fixture
def eraser(background: Background, service_url: str) -> Iterator[None]:
    """Executes erasures."""
    with background.during(run_eraser(service_url)):
        yield


@pytest.fixture
def patient(patients: Client) -> Patient:
    """A patient."""
    created: Patient = patients.create_patient(create_request())
    return created


def test_request_deletes_the_patient_and_schedules_the_erasure(
    patients: Client, admin: Client, patient: Patient
) -> None:
    response = request_erasure(admin, patient)
    assert response.erase_time
    assert abs(response.erase_time - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.get_patient(GetPatientRequest(id=patient.id))
    revision = patients.list_patient_revisions(ListPatientRevisionsRequest(id=patient.id)).revisions[0]
    assert (revision.type, revision.patient.name) == (RevisionType.DELETED, patient.name)


def test_repeated_request_keeps_the_time(admin: Client, patients: Client, patient: Patient) -> None:
    first = request_erasure(admin, patient)
    assert request_erasure(admin, patient, "Another reason") == first
    assert len(patients.list_patient_revisions(ListPatientRevisionsRequest(id=patient.id)).revisions) == 2


def test_deleted_patient_can_be_erased(admin: Client, patients: Client, patient: Patient) -> None:
    admin.delete_patient(DeletePatientRequest(id=patient.id))
    assert request_erasure(admin, patient).erase_time
    assert len(patients.list_patient_revisions(ListPatientRevisionsRequest(id=patient.id)).revisions) == 2


@pytest.mark.usefixtures("eraser")
def test_undelete_cancels_the_erasure(admin: Client, patients: Client, patient: Patient, sql: Sql) -> None:
    request_erasure(admin, patient)
    undeleted = admin.undelete_patient(UndeletePatientRequest(id=patient.id))
    assert not sql("SELECT FROM erasures WHERE patient_id = $1", patient.id)
    erase(admin, sql, patients.create_patient(create_request()))  # the eraser has worked since
    assert patients.get_patient(GetPatientRequest(id=patient.id)) == undeleted


@pytest.mark.usefixtures("eraser")
def test_erasure_is_executed_when_it_is_due_and_all_events_are_delivered(
    admin: Client, patients: Client, sql: Sql
) -> None:
    waiting, undelivered = (patients.create_patient(create_request()) for _ in range(2))
    for each in (waiting, undelivered):
        request_erasure(admin, each)
    sql(DELIVER, waiting.id)
    sql(MAKE_DUE, undelivered.id)
    erase(admin, sql, patients.create_patient(create_request()))
    assert not sql(EXECUTED, waiting.id)
    assert not sql(EXECUTED, undelivered.id)
    sql("DELETE FROM erasures WHERE execute_time IS NULL")


@pytest.mark.usefixtures("eraser")
def test_erased_patient_is_not_found(admin: Client, patient: Patient, sql: Sql) -> None:
    erase(admin, sql, patient)
    calls = (
        partial(admin.get_patient, GetPatientRequest(id=patient.id)),
        partial(admin.batch_get_patients, BatchGetPatientsRequest(ids=[patient.id])),
        partial(admin.update_patient, update_request(patient, name="Ana Costa")),
        partial(admin.delete_patient, DeletePatientRequest(id=patient.id)),
        partial(admin.undelete_patient, UndeletePatientRequest(id=patient.id)),
        partial(request_erasure, admin, patient),
        partial(admin.list_patient_revisions, ListPatientRevisionsRequest(id=patient.id)),
        partial(admin.list_care_team_members, ListCareTeamMembersRequest(id=patient.id)),
        partial(admin.break_glass, BreakGlassRequest(id=patient.id, reason=REASON)),
        partial(admin.find_duplicates, FindDuplicatesRequest(id=patient.id)),
    )
    errors = [attempt(call) for call in calls]
    assert [getattr(error, "reason", error) for error in errors] == ["PATIENT_NOT_FOUND"] * len(calls)
    listed = admin.list_patients(ListPatientsRequest(show_deleted=True, query=patient.email))
    assert listed.patients == []


@pytest.mark.usefixtures("eraser")
def test_no_table_contains_data_of_an_erased_patient(admin: Client, patients: Client, signer: Signer, sql: Sql) -> None:
    values = [uuid4().hex for _ in range(6)]
    created = patients.create_patient(
        CreatePatientRequest(
            patient=a_patient(
                name=f"Ana {values[0]}",
                email=f"{values[1]}@clinic.test",
                address=values[2],
                medical_record_number=values[3],
                restricted=True,
            ),
            request_id=str(uuid4()),
        )
    )
    patients.update_patient(update_request(created, name=f"Ana {values[4]}", address=values[5]))
    add_member(admin, created, User(patients, signer))
    assert all(any(value in row for row in dump(sql)) for value in values)
    erase(admin, sql, created)
    assert [row for row in dump(sql) if any(value in row for value in values)] == []
    assert not sql("SELECT FROM patient_grants WHERE patient_id = $1", created.id)


@pytest.mark.usefixtures("eraser")
def test_email_and_record_number_of_an_erased_patient_can_be_used(admin: Client, patients: Client, sql: Sql) -> None:
    request = create_request(medical_record_number=f"MRN-{uuid4()}")
    erase(admin, sql, patients.create_patient(request))
    assert patients.create_patient(request).id


@pytest.mark.usefixtures("eraser")
def test_access_events_of_an_erased_patient_can_be_listed(admin: Client, patient: Patient, sql: Sql) -> None:
    erase(admin, sql, patient)
    events = admin.list_access_events(ListAccessEventsRequest(id=patient.id)).access_events
    executed, requested, _ = [event for event in events if not event.method.endswith("/ListAccessEvents")]
    assert {executed.method, requested.method} == {f"{SERVICE}/ErasePatient"}
    assert (executed.query, requested.query) == ('{"executed":true}', f'{{"reason":"{REASON}"}}')
    assert {executed.actor_id, requested.actor_id} == {ADMIN_ID}


@pytest.mark.usefixtures("eraser")
def test_erasure_publishes_an_event_without_data(admin: Client, patient: Patient, sql: Sql) -> None:
    erase(admin, sql, patient)
    rows = sql("SELECT destination, type, payload FROM outbox WHERE key = $1 ORDER BY destination", patient.id)
    assert [(row["destination"], row["type"]) for row in rows] == [
        ("billing", "pulsetrack.patient.v1.PatientErased"),
        (TOPIC, "pulsetrack.patient.v1.PatientErased"),
    ]
    event = codec.codec_of(PatientEvent).loads(rows[0]["payload"])
    assert event.erased
    erased = event.erased.patient
    assert erased
    assert erased == Patient(id=patient.id, etag="3", update_time=erased.update_time, delete_time=erased.delete_time)
    assert event.sequence == 3


@pytest.mark.usefixtures("eraser")
def test_watches_send_the_erasure_and_earlier_revisions_without_data(admin: Client, patients: Client, sql: Sql) -> None:
    with watch(patients) as (stream, begin):
        created = patients.create_patient(create_request())
        [first] = read_changes(stream, 1)
        erase(admin, sql, created)
        assert types_of(read_changes(stream, 2)) == [RevisionType.DELETED, RevisionType.ERASED]
        for token, count in ((begin, 3), (first.resume_token, 2)):  # while the changes could be cached
            with watch(patients, token) as (resumed, _):
                changes = read_changes(resumed, count)
            assert ids_of(changes) == [created.id] * count
            assert not [change for change in changes if created.name in str(change)]


@pytest.mark.usefixtures("eraser")
def test_only_admins_see_that_a_restricted_patient_was_erased(
    admin: Client, patients: Client, signer: Signer, sql: Sql
) -> None:
    with watch(User(patients, signer).client) as (outside, begin), watch(admin) as (inside, _):
        restricted = create_restricted(patients)
        erase(admin, sql, restricted)
        visible = patients.create_patient(create_request())
        assert ids_of(read_changes(outside, 1)) == [visible.id]
        assert ids_of(read_changes(inside, 4)) == [*[restricted.id] * 3, visible.id]
    with watch(User(patients, signer).client, begin) as (resumed, _):
        assert ids_of(read_changes(resumed, 1)) == [visible.id]


def types_of(changes: list[WatchPatientsResponse]) -> list[RevisionType]:
    """Returns the types of changes."""
    return [change.revision.type for change in changes if change.revision]


def test_service_cannot_erase_revisions_before_an_erasure_is_due(
    service_sql: Sql, admin: Client, patient: Patient
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="no erasure of the patient"):
        service_sql(ERASE_REVISIONS, patient.id)
    request_erasure(admin, patient)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="no erasure of the patient"):
        service_sql(ERASE_REVISIONS, patient.id)


def test_service_erases_only_the_revisions_of_one_patient_once(
    service_sql: Sql, admin: Client, patient: Patient, sql: Sql
) -> None:
    other = admin.create_patient(create_request())
    request_erasure(admin, patient)
    sql(MAKE_DUE, patient.id)
    service_sql(ERASE_REVISIONS, patient.id)
    assert read_names(admin, patient) == {""}
    assert read_names(admin, other) == {other.name}
    sql("UPDATE erasures SET execute_time = now() WHERE patient_id = $1", patient.id)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="no erasure of the patient"):
        service_sql(ERASE_REVISIONS, patient.id)


def test_erased_columns_of_revisions_are_complete() -> None:
    """A new column with data of patients must be erased by a new version of the function `erase_revisions`."""
    kept = {"patient_id", "revision", "actor_id", "occur_time", "type", "transaction", "position"}
    assert set(revisions.c.keys()) - kept == {"patient", "resource"}


@pytest.mark.usefixtures("eraser")
def test_fhir_resource_is_erased(admin: Client, patients: Client, sql: Sql) -> None:
    created = create_resource(patients, a_resource(maritalStatus={"text": (status := uuid4().hex)}))
    update_resource(patients, created | {"gender": "other"})
    assert any(status in row for row in dump(sql))
    erase(admin, sql, Patient(id=created["id"]))
    assert not any(status in row for row in dump(sql))


def read_names(client: Client, patient: Patient) -> set[str]:
    """Returns the names in the revisions of a patient."""
    page = client.list_patient_revisions(ListPatientRevisionsRequest(id=patient.id))
    return {revision.patient.name for revision in page.revisions}


def test_users_cannot_erase(patients: Client, patient: Patient) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        request_erasure(patients, patient)


def test_unknown_patient_is_not_found(admin: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        request_erasure(admin, Patient(id=str(uuid4())))


@pytest.mark.parametrize("reason", ["", "too short", " " * 20, "\u200b" * 20, "x" * 501, "ten\nletters"])
def test_invalid_reason_is_rejected(admin: Client, patients: Client, patient: Patient, reason: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        request_erasure(admin, patient, reason)
    assert list(rejected.value.violations) == ["reason"]
    assert patients.get_patient(GetPatientRequest(id=patient.id)) == patient
