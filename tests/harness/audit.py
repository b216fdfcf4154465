"""Reads the access events that a service has recorded."""

from collections.abc import Callable
from typing import Any

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, ServiceAccessEvent
from tests.harness.client import Client
from tests.harness.waiting import eventually

Search = Callable[[SearchAccessEventsRequest], Any]
Summary = tuple[str, str, str]


def wait_for_events(admin: Client, method: str, count: int, **query: str) -> list[ServiceAccessEvent]:
    """Waits until a search method finds a number of events, and returns them, oldest first. Ignores searches."""
    search: Search = getattr(admin, method)

    def find_events() -> list[ServiceAccessEvent]:
        page = search(SearchAccessEventsRequest(page_size=1000, **query))
        events = [event for event in page.access_events if "AccessEvents" not in event.method]
        return events[::-1] if len(events) >= count else []

    return eventually(find_events)


def summarize(events: list[ServiceAccessEvent]) -> list[Summary]:
    """Returns the method, the outcome and the actor of each event."""
    return [(event.method.rpartition("/")[2], event.outcome, event.actor_id) for event in events]
