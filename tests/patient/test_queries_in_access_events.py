"""Tests that the access event of a list contains its query."""

import json
from contextlib import suppress
from uuid import uuid4

import pytest

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, ServiceAccessEvent
from gen.pulsetrack.patient.v1 import GetPatientRequest, ListAccessEventsRequest, ListPatientsRequest, Sex
from services.common.audit.interceptor import MAX_QUERY_BYTES, format_query
from services.common.protobuf.contract import message_class
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tests.patient.factory import create_request


def list_and_get_event(client: Client, admin: Client, request: ListPatientsRequest) -> ServiceAccessEvent:
    """Lists patients and returns the event of the call, whatever its outcome."""
    request_id = str(uuid4())
    with suppress(Rejected):
        client.list_patients(request, metadata=(("x-request-id", request_id),))

    def find_events() -> list[ServiceAccessEvent]:
        page = admin.search_patient_access_events(SearchAccessEventsRequest(page_size=1000))
        return [event for event in page.access_events if event.request_id == request_id]

    [event] = eventually(find_events)
    return event


def test_event_contains_filters_order_and_page_size(patients: Client, admin: Client) -> None:
    request = ListPatientsRequest(
        query="Zoë", order_by="name desc", page_size=7, show_deleted=True, sex=Sex.FEMALE, born_after="1980-01-01"
    )
    event = list_and_get_event(patients, admin, request)
    assert event.method == "pulsetrack.patient.v1.PatientService/ListPatients"
    assert json.loads(event.query) == {
        "query": "Zoë",
        "order_by": "name desc",
        "page_size": 7,
        "show_deleted": True,
        "sex": "SEX_FEMALE",
        "born_after": "1980-01-01",
    }


@pytest.mark.parametrize(("requested", "effective"), [(0, 50), (1001, 1000)])
def test_event_contains_the_effective_page_size(
    patients: Client, admin: Client, requested: int, effective: int
) -> None:
    request = ListPatientsRequest(page_size=requested)
    assert list_and_get_event(patients, admin, request).query == f'{{"page_size":{effective}}}'


def test_event_omits_the_page_token(patients: Client, admin: Client) -> None:
    for _ in range(2):
        patients.create_patient(create_request())
    token = patients.list_patients(ListPatientsRequest(page_size=1)).next_page_token
    event = list_and_get_event(patients, admin, ListPatientsRequest(page_size=1, page_token=token))
    assert (event.query, event.outcome) == ('{"page_size":1}', "OK")


@pytest.mark.parametrize("text", ["\N{DOG FACE}" * 100, "P" + "\u3000" * 98 + "1", '"' * 100])
def test_longest_query_does_not_displace_other_filters(patients: Client, admin: Client, text: str) -> None:
    event = list_and_get_event(
        patients, admin, ListPatientsRequest(query=text, order_by="name desc", show_deleted=True)
    )
    recorded = json.loads(event.query)
    assert recorded == {"query": text, "order_by": "name desc", "show_deleted": True, "page_size": 50}


def test_query_is_truncated_between_characters() -> None:
    query = format_query(message_class("pulsetrack.patient.v1.ListPatientsRequest")(query="\N{DOG FACE}" * 1000))
    assert MAX_QUERY_BYTES - 6 <= len(query.encode()) <= MAX_QUERY_BYTES
    assert query.endswith("\N{DOG FACE}\N{HORIZONTAL ELLIPSIS}")


@pytest.mark.parametrize("request_", [ListPatientsRequest(query="x" * 101), ListPatientsRequest(query="\0")])
def test_invalid_query_is_not_recorded(patients: Client, admin: Client, request_: ListPatientsRequest) -> None:
    event = list_and_get_event(patients, admin, request_)
    assert (event.outcome, event.query) == ("INVALID_ARGUMENT", "")


def test_query_of_an_unauthenticated_caller_is_not_recorded(patients: Client, admin: Client) -> None:
    event = list_and_get_event(patients.with_token(""), admin, ListPatientsRequest(query="unknown"))
    assert (event.outcome, event.query) == ("UNAUTHENTICATED", "")


def test_event_of_a_version_without_queries_has_none(patients: Client, admin: Client, sql: Sql) -> None:
    event = list_and_get_event(patients, admin, ListPatientsRequest())
    sql("UPDATE access_events SET method = $1 WHERE id = $2", event.method, event.id)
    page = admin.search_patient_access_events(SearchAccessEventsRequest(page_size=1000))
    [old] = [each for each in page.access_events if each.id == event.id]
    assert (old.method, old.query) == (event.method, "")


def test_other_calls_have_no_query(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    patients.get_patient(GetPatientRequest(id=created.id))
    events = eventually(
        lambda: (
            found
            if len(found := admin.list_access_events(ListAccessEventsRequest(id=created.id)).access_events) >= 2
            else []
        )
    )
    assert {event.query for event in events if "/List" not in event.method} == {""}


def test_events_of_a_patient_contain_the_query(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    list_and_get_event(patients, admin, ListPatientsRequest(query=created.email))
    events = admin.list_access_events(ListAccessEventsRequest(id=created.id)).access_events
    [query] = [event.query for event in events if event.method.endswith("/ListPatients")]
    assert json.loads(query) == {"query": created.email, "page_size": 50}
