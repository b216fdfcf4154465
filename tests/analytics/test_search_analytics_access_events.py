"""Tests SearchAnalyticsAccessEvents and the access events of each analytics method."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from gen.pulsetrack.analytics.v1 import (
    GetPatientStatisticsRequest,
    ListDeadLettersRequest,
    ListPatientEventsRequest,
    ReplayDeadLetterRequest,
)
from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest
from tests.analytics.factory import build_event, build_message
from tests.analytics.test_replay_dead_letter import CreateDeadLetter, reject_events
from tests.harness.audit import summarize, wait_for_events
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID, USER_ID
from tests.harness.waiting import eventually

SEARCH = "search_analytics_access_events"


def test_listing_events_records_an_event_about_each_patient(
    analytics: Client, admin: Client, store_events: Callable[..., None]
) -> None:
    patient_id = str(uuid4())
    store_events(build_event("created", patient_id), build_event("updated", patient_id, sequence=2))
    analytics.list_patient_events(ListPatientEventsRequest(patient_id=patient_id))
    [event] = wait_for_events(admin, SEARCH, 1, subject_id=patient_id)
    assert summarize([event]) == [("ListPatientEvents", "OK", USER_ID)]
    assert (event.subject_ids, event.subject_count) == ([patient_id], 1)
    assert event.query == f'{{"patient_id":"{patient_id}","page_size":50}}'


def test_empty_list_records_an_event_about_the_patient(analytics: Client, admin: Client) -> None:
    patient_id = str(uuid4())
    analytics.list_patient_events(ListPatientEventsRequest(patient_id=patient_id))
    assert summarize(wait_for_events(admin, SEARCH, 1, subject_id=patient_id)) == [("ListPatientEvents", "OK", USER_ID)]


def test_replay_records_an_event_about_the_patient(
    admin: Client, sql: Sql, create_dead_letter: CreateDeadLetter
) -> None:
    event = build_event("created", actor_id=str(uuid4()))
    with reject_events(sql, event.actor_id):
        dead_letter_id = create_dead_letter(build_message(event))
    admin.replay_dead_letter(ReplayDeadLetterRequest(id=dead_letter_id))
    patient_id = event.created.patient.id if event.created and event.created.patient else ""
    assert summarize(wait_for_events(admin, SEARCH, 1, subject_id=patient_id)) == [("ReplayDeadLetter", "OK", ADMIN_ID)]


def test_statistics_and_dead_letters_record_no_subjects(analytics: Client, admin: Client, sql: Sql) -> None:
    metadata = (("x-request-id", str(uuid4())),)
    analytics.get_patient_statistics(GetPatientStatisticsRequest(), metadata=metadata)
    admin.list_dead_letters(ListDeadLettersRequest(), metadata=metadata)
    query = "SELECT method, subject_ids FROM access_events WHERE request_id = $1 ORDER BY method"
    found = eventually(lambda: rows if len(rows := sql(query, metadata[0][1])) == 2 else [])
    assert [row["method"].rpartition("/")[2] for row in found] == [
        "GetPatientStatistics",
        'ListDeadLetters {"page_size":50}',
    ]
    assert [row["subject_ids"] for row in found] == [[], []]


def test_users_cannot_search(analytics: Client) -> None:
    with pytest.raises(Rejected, match="ROLE_REQUIRED"):
        analytics.search_analytics_access_events(SearchAccessEventsRequest())
