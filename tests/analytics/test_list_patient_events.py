"""ListPatientEvents."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.analytics.v1 import (
    AnalyticsEvent,
    ListPatientEventsRequest,
    ListPatientEventsResponse,
    PatientEventType,
)
from gen.pulsetrack.patient.v1 import PatientEvent
from tests.analytics.factory import build_event
from tests.harness.client import Client, Rejected
from tests.harness.tokens import USER_ID

StoreEvents = Callable[..., None]


def build_history(patient_id: str, *kinds: str, minutes: int = 1, last: datetime | None = None) -> list[PatientEvent]:
    """Returns events of a patient at the given intervals. The last one is now by default."""
    begin = (last or datetime.now(UTC)) - timedelta(minutes=minutes * (len(kinds) - 1))
    return [
        build_event(kind, patient_id, sequence=number + 1, occur_time=begin + timedelta(minutes=minutes * number))
        for number, kind in enumerate(kinds)
    ]


def walk(analytics: Client, **request: Any) -> Iterator[AnalyticsEvent]:
    """Follows the page tokens to the last page."""
    token = ""
    while True:
        page = analytics.list_patient_events(ListPatientEventsRequest(**request, page_token=token))
        yield from page.events
        if not (token := page.next_page_token):
            return


def ids(events: Iterator[AnalyticsEvent] | list[PatientEvent]) -> list[str]:
    return [event.event_id for event in events]


def test_event_is_listed_as_published(analytics: Client, store_events: StoreEvents) -> None:
    event = build_event("updated", patient_id := str(uuid4()), sequence=7)
    store_events(event)
    [listed] = analytics.list_patient_events(ListPatientEventsRequest(patient_id=patient_id)).events
    assert listed == AnalyticsEvent(
        event_id=event.event_id,
        patient_id=patient_id,
        type=PatientEventType.UPDATED,
        sequence=7,
        actor_id=USER_ID,
        occur_time=event.occur_time,
        receive_time=listed.receive_time,
    )
    assert listed.receive_time > event.occur_time


def test_events_are_listed_newest_first(analytics: Client, store_events: StoreEvents) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)  # after the events of other tests
    events = build_history(str(uuid4()), "created", "updated", last=tomorrow)
    other = build_event("created", occur_time=tomorrow - timedelta(seconds=30))
    store_events(*events, other)
    listed = analytics.list_patient_events(ListPatientEventsRequest(page_size=3)).events
    assert ids(listed) == ids([events[1], other, events[0]])


def test_events_can_be_filtered_by_patient_and_type(analytics: Client, store_events: StoreEvents) -> None:
    patient_id, other = str(uuid4()), str(uuid4())
    events = build_history(patient_id, "created", "updated", "updated", "deleted", "undeleted")
    store_events(*events, *build_history(other, "created", "updated"))
    assert ids(walk(analytics, patient_id=patient_id)) == ids(events)[::-1]
    assert ids(walk(analytics, patient_id=patient_id.upper(), type=PatientEventType.UPDATED)) == ids(events)[2:0:-1]
    assert ids(walk(analytics, patient_id=patient_id, type=PatientEventType.UNDELETED)) == ids(events)[-1:]
    assert {event.type for event in walk(analytics, type=PatientEventType.DELETED)} == {PatientEventType.DELETED}


@pytest.mark.parametrize("minutes", [0, 1])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pages_contain_every_event_once(analytics: Client, store_events: StoreEvents, size: int, minutes: int) -> None:
    events = build_history(patient_id := str(uuid4()), "created", *["updated"] * 5, minutes=minutes)
    store_events(*events)
    walked = ids(walk(analytics, patient_id=patient_id, page_size=size))
    assert sorted(walked) == sorted(ids(events))


def test_modified_page_token_or_different_query_is_rejected(analytics: Client, store_events: StoreEvents) -> None:
    store_events(*build_history(patient_id := str(uuid4()), "created", "updated", "updated"))
    query: dict[str, Any] = {"patient_id": patient_id}
    token = analytics.list_patient_events(ListPatientEventsRequest(**query, page_size=1)).next_page_token
    for request in (
        ListPatientEventsRequest(page_token=token),
        ListPatientEventsRequest(page_token=token, patient_id=str(uuid4())),
        ListPatientEventsRequest(page_token=token, type=PatientEventType.UPDATED, **query),
        ListPatientEventsRequest(page_token=token[1:], **query),
    ):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
            analytics.list_patient_events(request)
    assert len(analytics.list_patient_events(ListPatientEventsRequest(page_token=token, **query)).events) == 2


def test_unknown_patient_has_no_events(analytics: Client) -> None:
    response = analytics.list_patient_events(ListPatientEventsRequest(patient_id=str(uuid4())))
    assert response == ListPatientEventsResponse()


@pytest.mark.parametrize(
    ("field", "value"),
    [("page_size", -1), ("patient_id", "42"), ("type", 9), ("page_token", "x" * 513)],
)
def test_invalid_field_is_reported(analytics: Client, field: str, value: Any) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        analytics.list_patient_events(ListPatientEventsRequest(**{field: value}))
    assert list(rejected.value.violations) == [field]
