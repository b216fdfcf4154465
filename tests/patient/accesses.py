"""A look at the access events of patients."""

from gen.pulsetrack.patient.v1 import AccessEvent, ListAccessEventsRequest
from tests.harness.client import Client
from tests.harness.waiting import eventually

SERVICE = "pulsetrack.patient.v1.PatientService"


def events_of(admin: Client, patient_id: str, count: int) -> list[AccessEvent]:
    """Waits until a patient has so many events without those of looking, and returns them, the oldest first."""

    def look() -> list[AccessEvent]:
        page = admin.list_access_events(ListAccessEventsRequest(id=patient_id, page_size=1000))
        found = [event for event in page.access_events if not event.method.endswith("/ListAccessEvents")]
        return found[::-1] if len(found) >= count else []

    return eventually(look)


def told(events: list[AccessEvent]) -> list[tuple[str, str]]:
    """Returns the methods and outcomes of events."""
    return [(event.method.removeprefix(f"{SERVICE}/"), event.outcome) for event in events]
