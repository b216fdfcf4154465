"""Events of restricted patients. The patient service is not running."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from gen.pulsetrack.analytics.v1 import GetPatientStatisticsRequest, ListPatientEventsRequest
from gen.pulsetrack.patient.v1 import Patient, PatientCreated, PatientEvent, PatientUpdated
from tests.analytics.factory import build_event
from tests.harness.client import Client, Rejected

StoreEvents = Callable[..., None]


def build_history(*, restricted: bool) -> list[PatientEvent]:
    """Returns the events of a new patient and of a change of its restriction."""
    patient_id = str(uuid4())
    created = PatientCreated(patient=Patient(id=patient_id, restricted=not restricted))
    updated = PatientUpdated(patient=Patient(id=patient_id, restricted=restricted))
    return [build_event("created", created=created), build_event("updated", sequence=2, updated=updated)]


def id_of(event: PatientEvent) -> str:
    """Returns the id of the patient that an event created."""
    assert event.created
    assert event.created.patient
    return event.created.patient.id


def test_events_of_a_restricted_patient_need_the_patient_service(
    analytics: Client, admin: Client, store_events: StoreEvents
) -> None:
    history = build_history(restricted=True)
    store_events(*history)
    request = ListPatientEventsRequest(patient_id=id_of(history[0]))
    assert len(admin.list_patient_events(request).events) == 2
    with pytest.raises(Rejected, match="UNAVAILABLE DEPENDENCY_UNAVAILABLE"):
        analytics.list_patient_events(request)


def test_events_are_listed_once_the_restriction_is_removed(analytics: Client, store_events: StoreEvents) -> None:
    history = build_history(restricted=False)
    store_events(*history)
    assert len(analytics.list_patient_events(ListPatientEventsRequest(patient_id=id_of(history[0]))).events) == 2


def test_statistics_count_restricted_patients(analytics: Client, store_events: StoreEvents) -> None:
    before = analytics.get_patient_statistics(GetPatientStatisticsRequest()).total_patients
    store_events(*build_history(restricted=True))
    assert analytics.get_patient_statistics(GetPatientStatisticsRequest()).total_patients == before + 1
