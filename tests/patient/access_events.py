"""Reads the access events of patients."""

from gen.pulsetrack.patient.v1 import AccessEvent, ListAccessEventsRequest
from tests.harness.client import Client
from tests.harness.waiting import eventually

SERVICE = "pulsetrack.patient.v1.PatientService"


def wait_for_events(admin: Client, patient_id: str, count: int) -> list[AccessEvent]:
    """Waits until a patient has a number of events, and returns them, oldest first. Ignores ListAccessEvents."""

    def find_events() -> list[AccessEvent]:
        page = admin.list_access_events(ListAccessEventsRequest(id=patient_id, page_size=1000))
        events = [event for event in page.access_events if not event.method.endswith("/ListAccessEvents")]
        return events[::-1] if len(events) >= count else []

    return eventually(find_events)


def summarize(events: list[AccessEvent]) -> list[tuple[str, str]]:
    """Returns the method and the outcome of each event."""
    return [(event.method.removeprefix(f"{SERVICE}/"), event.outcome) for event in events]
