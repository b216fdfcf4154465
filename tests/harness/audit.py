"""A look at what a service has recorded of calls."""

from collections.abc import Callable
from typing import Any

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, ServiceAccessEvent
from tests.harness.client import Client
from tests.harness.waiting import eventually

Search = Callable[[SearchAccessEventsRequest], Any]
Told = tuple[str, str, str]


def searched(admin: Client, method: str, count: int, **query: str) -> list[ServiceAccessEvent]:
    """Waits until a search method finds so many events without those of searching, and returns them, oldest first."""
    search: Search = getattr(admin, method)

    def look() -> list[ServiceAccessEvent]:
        page = search(SearchAccessEventsRequest(page_size=1000, **query))
        found = [event for event in page.access_events if "AccessEvents" not in event.method]
        return found[::-1] if len(found) >= count else []

    return eventually(look)


def told(events: list[ServiceAccessEvent]) -> list[Told]:
    """Returns the method, the outcome and the actor of events."""
    return [(event.method.rpartition("/")[2], event.outcome, event.actor_id) for event in events]
