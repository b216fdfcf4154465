"""ListAccessEvents, and what each call of the patient service leaves for it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest
from gen.pulsetrack.patient.v1 import (
    CreatePatientRequest,
    DeletePatientRequest,
    GetPatientRequest,
    ListAccessEventsRequest,
    ListPatientRevisionsRequest,
    ListPatientsRequest,
    Patient,
    UndeletePatientRequest,
)
from services.common.protobuf import contract
from tests.harness.client import Client, Rejected, attempt
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID, USER_ID
from tests.harness.waiting import eventually
from tests.patient.accesses import SERVICE, events_of, told
from tests.patient.factory import a_patient, create_request, update_request

Call = Callable[[Client, Patient], Any]

CALLS: dict[str, Call] = {
    "GetPatient": lambda client, patient: client.get_patient(GetPatientRequest(id=patient.id)),
    "ListPatients": lambda client, patient: client.list_patients(ListPatientsRequest(query=patient.email)),
    "ListPatientRevisions": lambda client, patient: client.list_patient_revisions(
        ListPatientRevisionsRequest(id=patient.id)
    ),
    "ListAccessEvents": lambda client, patient: client.list_access_events(ListAccessEventsRequest(id=patient.id)),
    "UpdatePatient": lambda client, patient: client.update_patient(update_request(patient, phone="112")),
    "DeletePatient": lambda client, patient: client.delete_patient(DeletePatientRequest(id=patient.id)),
    "UndeletePatient": lambda client, patient: client.undelete_patient(UndeletePatientRequest(id=patient.id)),
    "SearchPatientAccessEvents": lambda client, patient: client.search_patient_access_events(
        SearchAccessEventsRequest(subject_id=patient.id)
    ),
    "CreatePatient": lambda client, patient: client.create_patient(
        CreatePatientRequest(patient=a_patient(email=patient.email))
    ),
}
FOR_ADMINS = ("DeletePatient", "UndeletePatient", "ListAccessEvents", "SearchPatientAccessEvents")
ABOUT_ONE = [name for name in CALLS if name not in {"CreatePatient", "ListPatients", "SearchPatientAccessEvents"}]


def last(sql: Sql, request_id: str) -> dict[str, Any]:
    """Waits for the only event of a request, and returns its row."""
    [row] = eventually(lambda: sql("SELECT * FROM access_events WHERE request_id = $1", request_id))
    return dict(row)


def making(client: Client, name: str, patient: Patient) -> tuple[str, Any]:
    """Makes a call, and returns its request id, and its answer or refusal."""
    request_id = str(uuid4())
    marked = Marked(client, request_id)
    return request_id, attempt(lambda: CALLS[name](marked, patient))  # type: ignore[arg-type]


class Marked:
    """A client whose calls have a request id."""

    def __init__(self, client: Client, request_id: str) -> None:
        self._client = client
        self._metadata = (("x-request-id", request_id),)

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        return lambda request: getattr(self._client, name)(request, metadata=self._metadata)


def test_the_table_has_every_method() -> None:
    assert set(CALLS) == {method.name for method in contract.methods(SERVICE) if not method.streams}


@pytest.mark.parametrize("name", [name for name in CALLS if name != "CreatePatient"])
def test_a_call_leaves_one_event(patients: Client, admin: Client, sql: Sql, name: str) -> None:
    created = patients.create_patient(create_request())
    before = datetime.now(UTC)
    request_id, _ = making(admin, name, created)
    event = last(sql, request_id)
    assert [str(patient_id) for patient_id in event["patient_ids"]] == [created.id]
    method, _, _query = event["method"].partition(" ")
    assert (method, event["outcome"]) == (f"{SERVICE}/{name}", "OK")
    assert (event["actor_id"], event["remote_address"]) == (ADMIN_ID, "127.0.0.1")
    assert before <= event["occur_time"] <= datetime.now(UTC)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_without_a_token_leaves_an_event_and_is_not_parsed(patients: Client, sql: Sql, name: str) -> None:
    created = patients.create_patient(create_request())
    request_id, refused = making(patients.with_token(""), name, created)
    event = last(sql, request_id)
    assert refused.reason == "TOKEN_MISSING"
    assert (event["outcome"], event["actor_id"]) == ("UNAUTHENTICATED", "")
    assert event["patient_ids"] == []  # which only a parsed request would name


@pytest.mark.parametrize("name", FOR_ADMINS)
def test_a_call_without_the_role_leaves_an_event(patients: Client, sql: Sql, name: str) -> None:
    created = patients.create_patient(create_request())
    request_id, refused = making(patients, name, created)
    event = last(sql, request_id)
    assert refused.reason == "ROLE_REQUIRED"
    assert (event["outcome"], event["actor_id"]) == ("PERMISSION_DENIED", USER_ID)
    assert [str(each) for each in event["patient_ids"]] == [created.id]


@pytest.mark.parametrize("name", ABOUT_ONE)
def test_a_call_for_a_patient_that_there_is_not_leaves_an_event(admin: Client, sql: Sql, name: str) -> None:
    unknown = a_patient(id=str(uuid4()))
    request_id, refused = making(admin, name, unknown)
    event = last(sql, request_id)
    assert refused.reason == "PATIENT_NOT_FOUND"
    assert event["outcome"] == "NOT_FOUND"
    assert [str(each) for each in event["patient_ids"]] == [unknown.id]


@pytest.mark.parametrize("name", ABOUT_ONE)
def test_a_call_with_an_id_that_is_none_leaves_an_event_of_no_patient(admin: Client, sql: Sql, name: str) -> None:
    request_id, refused = making(admin, name, a_patient(id="4\N{ZERO WIDTH SPACE}2"))
    event = last(sql, request_id)
    assert refused.reason == "FIELDS_INVALID"
    assert (event["outcome"], event["patient_ids"]) == ("INVALID_ARGUMENT", [])


def test_bytes_that_are_no_message_leave_an_event_of_no_patient(patients: Client, sql: Sql) -> None:
    with pytest.raises(Rejected):
        patients.call(f"/{SERVICE}/GetPatient", b"\xff\xff", (("x-request-id", "no-message"),))
    event = last(sql, "no-message")
    assert (event["outcome"], event["patient_ids"]) == ("INVALID_ARGUMENT", [])


def test_a_creation_is_the_first_event_and_another_with_its_email_is_one_of_nobody(
    patients: Client, admin: Client, sql: Sql
) -> None:
    created = patients.create_patient(create_request())
    request_id, refused = making(patients, "CreatePatient", created)
    assert refused.reason == "EMAIL_ALREADY_EXISTS"
    assert (last(sql, request_id)["outcome"], last(sql, request_id)["patient_ids"]) == ("ALREADY_EXISTS", [])
    assert told(events_of(admin, created.id, 1)) == [("CreatePatient", "OK")]


def test_a_creation_that_is_repeated_reads_the_patient(patients: Client, admin: Client) -> None:
    request = CreatePatientRequest(patient=a_patient(), request_id="audited-twice")
    created, again = (patients.create_patient(request) for _ in range(2))
    assert again == created
    assert told(events_of(admin, created.id, 2)) == [("CreatePatient", "OK")] * 2


def test_who_changes_nothing_has_read(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    patients.update_patient(update_request(created, name=created.name))
    admin.undelete_patient(UndeletePatientRequest(id=created.id))
    assert told(events_of(admin, created.id, 3)) == [
        ("CreatePatient", "OK"),
        ("UpdatePatient", "OK"),
        ("UndeletePatient", "OK"),
    ]


def test_an_id_that_a_creation_claims_to_have_is_not_believed(patients: Client, admin: Client) -> None:
    other = patients.create_patient(create_request())
    with pytest.raises(Rejected):
        patients.create_patient(create_request(id=other.id, email=other.email))
    patients.get_patient(GetPatientRequest(id=other.id))
    assert told(events_of(admin, other.id, 2)) == [("CreatePatient", "OK"), ("GetPatient", "OK")]


def test_a_list_is_one_event_of_each_of_its_patients(patients: Client, admin: Client) -> None:
    created = [patients.create_patient(create_request(name="Listed Together")) for _ in range(3)]
    patients.list_patients(ListPatientsRequest(query="listed together"))
    [first, *others] = [events_of(admin, patient.id, 2)[-1] for patient in created]
    assert (first.method, first.patient_id) == (f"{SERVICE}/ListPatients", created[0].id)
    assert [(event.id, event.patient_id) for event in others] == [(first.id, each.id) for each in created[1:]]


def test_a_change_and_its_event_are_of_one_transaction(patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    written = sql("SELECT xmin::text FROM patients WHERE id = $1", created.id)
    written += sql("SELECT xmin::text FROM access_events WHERE $1 = ANY(patient_ids)", created.id)
    assert len(written) == 2
    assert len(set(written)) == 1


def test_a_deleted_patient_has_its_events_still(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    admin.delete_patient(DeletePatientRequest(id=created.id))
    with pytest.raises(Rejected):
        patients.get_patient(GetPatientRequest(id=created.id))
    assert told(events_of(admin, created.id, 3)) == [
        ("CreatePatient", "OK"),
        ("DeletePatient", "OK"),
        ("GetPatient", "NOT_FOUND"),
    ]


def test_pages_hold_every_event_once_newest_first(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    for _ in range(6):
        patients.get_patient(GetPatientRequest(id=created.id))
    everything = [event.id for event in events_of(admin, created.id, 7)][::-1]
    seen, token, times = [], "", [datetime.now(UTC) + timedelta(days=1)]
    while True:
        request = ListAccessEventsRequest(id=created.id, page_size=3, page_token=token)
        page = admin.list_access_events(request)
        seen += [event.id for event in page.access_events]
        times += [event.occur_time for event in page.access_events]
        if not (token := page.next_page_token):
            break
    assert [event_id for event_id in seen if event_id in everything] == everything
    assert len(seen) == len(set(seen))
    assert times == sorted(times, reverse=True)


def test_a_token_is_refused_for_another_patient(patients: Client, admin: Client) -> None:
    created, other = (patients.create_patient(create_request()) for _ in range(2))
    patients.get_patient(GetPatientRequest(id=created.id))
    events_of(admin, created.id, 2)
    token = admin.list_access_events(ListAccessEventsRequest(id=created.id, page_size=1)).next_page_token
    with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
        admin.list_access_events(ListAccessEventsRequest(id=other.id, page_token=token))


def test_a_request_that_breaks_its_rules_is_refused(admin: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        admin.list_access_events(ListAccessEventsRequest(id="42", page_size=1001, page_token="x" * 513))
    assert list(refused.value.violations) == ["id", "page_size", "page_token"]
