"""Tests ListAccessEvents and the access events of each method of the patient service."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.json_format import MessageToJson

from gen.google.api import HttpBody
from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest
from gen.pulsetrack.patient.v1 import (
    AddCareTeamMemberRequest,
    BatchGetPatientsRequest,
    BreakGlassRequest,
    CreatePatientRequest,
    DeleteFhirExportRequest,
    DeleteFhirPatientRequest,
    DeletePatientRequest,
    ErasePatientRequest,
    ErasureState,
    FindDuplicatesRequest,
    FindFhirPatientsRequest,
    GetFhirExportRequest,
    GetFhirPatientHistoryRequest,
    GetFhirPatientRequest,
    GetFhirPatientVersionRequest,
    GetPatientAccessRequest,
    GetPatientRequest,
    ImportPatientRecordsRequest,
    ImportPatientsRequest,
    ListAccessEventsRequest,
    ListCareTeamMembersRequest,
    ListErasuresRequest,
    ListPatientRevisionsRequest,
    ListPatientsRequest,
    MergePatientsRequest,
    Patient,
    RemoveCareTeamMemberRequest,
    StartFhirExportRequest,
    UndeletePatientRequest,
    UnmergePatientsRequest,
)
from services.common.protobuf import contract
from services.common.protobuf.contract import AccessKind, Method
from services.patient.domain import PATIENT_CODEC
from tests.harness.client import Client, Rejected, attempt
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID, USER_ID
from tests.harness.waiting import eventually
from tests.patient.access_events import SERVICE, summarize, wait_for_events
from tests.patient.factory import a_patient, create_request, update_request
from tests.patient.fhir_resources import Resource, a_resource
from tests.patient.fhir_resources import create as create_resource
from tests.patient.fhir_resources import update as update_resource

Call = Callable[[Client, Patient], Any]


def _to_line(patient: Patient) -> bytes:
    """Returns a patient as a line of NDJSON."""
    return MessageToJson(PATIENT_CODEC.encode(patient), indent=None).encode()


def _to_resource(patient: Patient) -> Resource:
    """Returns a resource with the id and the email address of a patient."""
    return a_resource(id=patient.id, telecom=[{"system": "email", "value": patient.email}])


CALLS: dict[str, Call] = {
    "GetPatient": lambda client, patient: client.get_patient(GetPatientRequest(id=patient.id)),
    "ListPatients": lambda client, patient: client.list_patients(ListPatientsRequest(query=patient.email)),
    "ListPatientRevisions": lambda client, patient: client.list_patient_revisions(
        ListPatientRevisionsRequest(id=patient.id)
    ),
    "ListAccessEvents": lambda client, patient: client.list_access_events(ListAccessEventsRequest(id=patient.id)),
    "GetFhirPatient": lambda client, patient: client.get_fhir_patient(GetFhirPatientRequest(id=patient.id)),
    "FindFhirPatients": lambda client, patient: client.find_fhir_patients(
        FindFhirPatientsRequest(parameters=f"email={patient.email}")
    ),
    "BatchGetPatients": lambda client, patient: client.batch_get_patients(BatchGetPatientsRequest(ids=[patient.id])),
    "FindDuplicates": lambda client, patient: client.find_duplicates(FindDuplicatesRequest(id=patient.id)),
    "UpdatePatient": lambda client, patient: client.update_patient(update_request(patient, phone="112")),
    "DeletePatient": lambda client, patient: client.delete_patient(DeletePatientRequest(id=patient.id)),
    "UndeletePatient": lambda client, patient: client.undelete_patient(UndeletePatientRequest(id=patient.id)),
    "MergePatients": lambda client, patient: client.merge_patients(
        MergePatientsRequest(id=patient.id, merged_id=str(uuid4()))
    ),
    "UnmergePatients": lambda client, patient: client.unmerge_patients(UnmergePatientsRequest(id=patient.id)),
    "SearchPatientAccessEvents": lambda client, patient: client.search_patient_access_events(
        SearchAccessEventsRequest(subject_id=patient.id)
    ),
    "AddCareTeamMember": lambda client, patient: client.add_care_team_member(
        AddCareTeamMemberRequest(id=patient.id, user_id=USER_ID)
    ),
    "RemoveCareTeamMember": lambda client, patient: client.remove_care_team_member(
        RemoveCareTeamMemberRequest(id=patient.id, user_id=USER_ID)
    ),
    "ListCareTeamMembers": lambda client, patient: client.list_care_team_members(
        ListCareTeamMembersRequest(id=patient.id)
    ),
    "BreakGlass": lambda client, patient: client.break_glass(BreakGlassRequest(id=patient.id, reason="an emergency")),
    "GetPatientAccess": lambda client, _: client.get_patient_access(GetPatientAccessRequest()),
    "ErasePatient": lambda client, patient: client.erase_patient(
        ErasePatientRequest(id=patient.id, reason="Request 2026-117")
    ),
    "ListErasures": lambda client, _: client.list_erasures(ListErasuresRequest(state=ErasureState.EXECUTED)),
    "ImportPatients": lambda client, patient: client.import_patients(ImportPatientsRequest(patients=[patient])),
    "CreateFhirPatient": lambda client, patient: create_resource(client, _to_resource(patient)),
    "UpdateFhirPatient": lambda client, patient: update_resource(client, _to_resource(patient)),
    "DeleteFhirPatient": lambda client, patient: client.delete_fhir_patient(DeleteFhirPatientRequest(id=patient.id)),
    "GetFhirPatientHistory": lambda client, patient: client.get_fhir_patient_history(
        GetFhirPatientHistoryRequest(id=patient.id)
    ),
    "GetFhirPatientVersion": lambda client, patient: client.get_fhir_patient_version(
        GetFhirPatientVersionRequest(id=patient.id, version="1")
    ),
    "StartFhirExport": lambda client, _: client.start_fhir_export(StartFhirExportRequest()),
    "GetFhirExport": lambda client, patient: client.get_fhir_export(GetFhirExportRequest(export_id=patient.id)),
    "DeleteFhirExport": lambda client, patient: client.delete_fhir_export(
        DeleteFhirExportRequest(export_id=patient.id)
    ),
    "ImportPatientRecords": lambda client, patient: client.import_patient_records(
        ImportPatientRecordsRequest(
            records=HttpBody(data=MessageToJson(PATIENT_CODEC.encode(patient), indent=None).encode())
        )
    ),
    "CreatePatient": lambda client, patient: client.create_patient(
        CreatePatientRequest(patient=a_patient(email=patient.email))
    ),
}
ADMIN_METHODS = (
    "DeleteFhirPatient",
    "DeletePatient",
    "UndeletePatient",
    "MergePatients",
    "UnmergePatients",
    "ErasePatient",
    "ListAccessEvents",
    "SearchPatientAccessEvents",
    "AddCareTeamMember",
    "RemoveCareTeamMember",
)
EXPORTS = ("GetFhirExport", "DeleteFhirExport")
WITHOUT_ID = {
    "CreateFhirPatient",
    "CreatePatient",
    "ImportPatientRecords",
    "ImportPatients",
    "ListErasures",
    "ListPatients",
    "FindFhirPatients",
    "SearchPatientAccessEvents",
    "GetPatientAccess",
    "StartFhirExport",
}
SINGLE_PATIENT_METHODS = [name for name in CALLS if name not in {*WITHOUT_ID, *EXPORTS, "MergePatients"}]
WITHOUT_SUBJECTS = {"GetPatientAccess", "ListErasures", "StartFhirExport"}
FAILING = {"CreatePatient", "CreateFhirPatient", "RemoveCareTeamMember", "BreakGlass", "MergePatients", *EXPORTS}
"""Methods that fail for a new patient with the same email address, without a care team, which is not restricted.

An unknown patient cannot be merged into it, and its ID is not that of an export.
"""


def wait_for_event(sql: Sql, request_id: str) -> dict[str, Any]:
    """Waits for the only event of a request and returns its row."""
    [row] = eventually(lambda: sql("SELECT * FROM access_events WHERE request_id = $1", request_id))
    return dict(row)


def call_method(client: Client, name: str, patient: Patient) -> tuple[str, Any]:
    """Calls a method and returns the request id, and the response or the error."""
    request_id = str(uuid4())
    tagged = TaggedClient(client, request_id)
    return request_id, attempt(lambda: CALLS[name](tagged, patient))  # type: ignore[arg-type]


class TaggedClient:
    """A client that sends a request id with each call."""

    def __init__(self, client: Client, request_id: str) -> None:
        self._client = client
        self._metadata = (("x-request-id", request_id),)

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        return lambda request: getattr(self._client, name)(request, metadata=self._metadata)


def is_audited(method: Method) -> bool:
    """Returns whether each call of a method is recorded."""
    return not method.streams and method.access.kind is not AccessKind.PUBLIC


def test_calls_include_every_unary_method() -> None:
    assert set(CALLS) == {method.name for method in contract.methods(SERVICE) if is_audited(method)}


@pytest.mark.parametrize("name", [name for name in CALLS if name not in FAILING])
def test_call_records_one_event(patients: Client, admin: Client, sql: Sql, name: str) -> None:
    created = patients.create_patient(create_request(name=uuid4().hex))  # without a duplicate
    before = datetime.now(UTC)
    request_id, _ = call_method(admin, name, created)
    event = wait_for_event(sql, request_id)
    subjects = [] if name in WITHOUT_SUBJECTS else [created.id]
    assert [str(patient_id) for patient_id in event["patient_ids"]] == subjects
    method, _, _query = event["method"].partition(" ")
    assert (method, event["outcome"]) == (f"{SERVICE}/{name}", "OK")
    assert (event["actor_id"], event["remote_address"]) == (ADMIN_ID, "127.0.0.1")
    assert before <= event["occur_time"] <= datetime.now(UTC)


@pytest.mark.parametrize("name", CALLS)
def test_call_without_a_token_is_recorded_but_not_parsed(patients: Client, sql: Sql, name: str) -> None:
    created = patients.create_patient(create_request())
    request_id, error = call_method(patients.with_token(""), name, created)
    event = wait_for_event(sql, request_id)
    assert error.reason == "TOKEN_MISSING"
    assert (event["outcome"], event["actor_id"]) == ("UNAUTHENTICATED", "")
    assert event["patient_ids"] == []  # only a parsed request would name the patient


@pytest.mark.parametrize("name", ADMIN_METHODS)
def test_call_without_the_role_records_an_event(patients: Client, sql: Sql, name: str) -> None:
    created = patients.create_patient(create_request())
    request_id, error = call_method(patients, name, created)
    event = wait_for_event(sql, request_id)
    assert error.reason == "ROLE_REQUIRED"
    assert (event["outcome"], event["actor_id"]) == ("PERMISSION_DENIED", USER_ID)
    assert [str(each) for each in event["patient_ids"]] == [created.id]


@pytest.mark.parametrize("name", SINGLE_PATIENT_METHODS)
def test_call_for_an_unknown_patient_records_an_event(admin: Client, sql: Sql, name: str) -> None:
    unknown = a_patient(id=str(uuid4()))
    request_id, error = call_method(admin, name, unknown)
    event = wait_for_event(sql, request_id)
    assert error.reason == "PATIENT_NOT_FOUND"
    assert event["outcome"] == "NOT_FOUND"
    assert [str(each) for each in event["patient_ids"]] == [unknown.id]


@pytest.mark.parametrize("name", SINGLE_PATIENT_METHODS)
def test_call_with_an_invalid_id_records_no_patient(admin: Client, sql: Sql, name: str) -> None:
    request_id, error = call_method(admin, name, a_patient(id="4\N{ZERO WIDTH SPACE}2"))
    event = wait_for_event(sql, request_id)
    assert error.reason == "FIELDS_INVALID"
    assert (event["outcome"], event["patient_ids"]) == ("INVALID_ARGUMENT", [])


def test_undecodable_request_records_no_patient(patients: Client, sql: Sql) -> None:
    with pytest.raises(Rejected):
        patients.call(f"/{SERVICE}/GetPatient", b"\xff\xff", (("x-request-id", "no-message"),))
    event = wait_for_event(sql, "no-message")
    assert (event["outcome"], event["patient_ids"]) == ("INVALID_ARGUMENT", [])


def test_failed_create_is_not_recorded_for_the_existing_patient(patients: Client, admin: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    request_id, error = call_method(patients, "CreatePatient", created)
    assert error.reason == "EMAIL_ALREADY_EXISTS"
    assert (wait_for_event(sql, request_id)["outcome"], wait_for_event(sql, request_id)["patient_ids"]) == (
        "ALREADY_EXISTS",
        [],
    )
    assert summarize(wait_for_events(admin, created.id, 1)) == [("CreatePatient", "OK")]


def test_pages_contain_every_event_once_newest_first(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    for _ in range(6):
        patients.get_patient(GetPatientRequest(id=created.id))
    expected = [event.id for event in wait_for_events(admin, created.id, 7)][::-1]
    seen, token, times = [], "", [datetime.now(UTC) + timedelta(days=1)]
    while True:
        request = ListAccessEventsRequest(id=created.id, page_size=3, page_token=token)
        page = admin.list_access_events(request)
        seen += [event.id for event in page.access_events]
        times += [event.occur_time for event in page.access_events]
        if not (token := page.next_page_token):
            break
    assert [event_id for event_id in seen if event_id in expected] == expected
    assert len(seen) == len(set(seen))
    assert times == sorted(times, reverse=True)


def test_page_token_of_another_patient_is_rejected(patients: Client, admin: Client) -> None:
    created, other = (patients.create_patient(create_request()) for _ in range(2))
    patients.get_patient(GetPatientRequest(id=created.id))
    wait_for_events(admin, created.id, 2)
    token = admin.list_access_events(ListAccessEventsRequest(id=created.id, page_size=1)).next_page_token
    with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
        admin.list_access_events(ListAccessEventsRequest(id=other.id, page_token=token))


def test_invalid_request_is_rejected(admin: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.list_access_events(ListAccessEventsRequest(id="42", page_size=-1, page_token="x" * 513))
    assert list(rejected.value.violations) == ["id", "page_size", "page_token"]
