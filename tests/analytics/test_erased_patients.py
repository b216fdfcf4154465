"""Erased patients: no data of them is left, whatever arrives before and after the erasure."""

from collections.abc import Callable
from itertools import permutations
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from gen.pulsetrack.analytics.v1 import (
    GetPatientStatisticsRequest,
    ListDeadLettersRequest,
    ListPatientEventsRequest,
    PatientEventType,
    ReplayDeadLetterRequest,
)
from gen.pulsetrack.patient.v1 import Patient, PatientCreated, PatientEvent, Sex
from services.common.messaging.producer import OutgoingMessage
from tests.analytics.factory import KEY, build_event, build_message
from tests.harness.client import Client
from tests.harness.sql import Sql

StoreEvents = Callable[..., None]
CreateDeadLetter = Callable[[OutgoingMessage], str]
PAYLOADS = "SELECT payload FROM events WHERE patient_id = $1"
STATE = "SELECT deleted, sex, date_of_birth, erased FROM patients WHERE patient_id = $1"


def build_history(patient_id: str) -> list[PatientEvent]:
    """Returns the events of an erased patient."""
    patient = Patient(id=patient_id, name=uuid4().hex, sex=Sex.FEMALE, date_of_birth="1980-02-29")
    return [
        build_event("created", created=PatientCreated(patient=patient)),
        build_event("deleted", patient_id, sequence=2, sex=Sex.FEMALE, date_of_birth="1980-02-29"),
        build_event("erased", patient_id, sequence=3),
    ]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_no_data_is_left_in_any_order_of_events(store_events: StoreEvents, sql: Sql, order: tuple[int, ...]) -> None:
    history = build_history(patient_id := str(uuid7()))
    for number in order:
        store_events(history[number])
    assert [bytes(row["payload"]) for row in sql(PAYLOADS, patient_id)] == [b""] * 3
    assert [tuple(row) for row in sql(STATE, patient_id)] == [(True, 0, None, True)]


def test_redelivered_events_bring_no_data_back(store_events: StoreEvents, sql: Sql) -> None:
    history = build_history(patient_id := str(uuid7()))
    store_events(*history)
    sql("DELETE FROM events WHERE patient_id = $1", patient_id)  # as after their retention
    store_events(*history[:2])
    assert [bytes(row["payload"]) for row in sql(PAYLOADS, patient_id)] == [b""] * 2
    assert [tuple(row) for row in sql(STATE, patient_id)] == [(True, 0, None, True)]


def test_payloads_of_other_patients_are_kept(store_events: StoreEvents, sql: Sql) -> None:
    other = build_event("created", other_id := str(uuid7()))
    store_events(other, *build_history(str(uuid7())))
    assert [bytes(row["payload"]) for row in sql(PAYLOADS, other_id)] == [build_message(other).value]


def test_events_are_still_listed_and_counted(analytics: Client, store_events: StoreEvents) -> None:
    before = analytics.get_patient_statistics(GetPatientStatisticsRequest())
    store_events(*build_history(patient_id := str(uuid7())))
    events = analytics.list_patient_events(ListPatientEventsRequest(patient_id=patient_id)).events
    assert {event.type for event in events} == {
        PatientEventType.CREATED,
        PatientEventType.DELETED,
        PatientEventType.ERASED,
    }
    after = analytics.get_patient_statistics(GetPatientStatisticsRequest())
    assert (after.total_patients, after.total_deleted) == (before.total_patients, before.total_deleted + 1)


def test_dead_letters_that_name_the_patient_are_deleted(
    admin: Client, store_events: StoreEvents, create_dead_letter: CreateDeadLetter
) -> None:
    history = build_history(patient_id := str(uuid7()))
    other = create_dead_letter(OutgoingMessage(key=KEY, value=b"\xff" + uuid4().bytes, headers={}))
    create_dead_letter(OutgoingMessage(key=patient_id, value=b"\xff" + uuid4().bytes, headers={}))
    create_dead_letter(OutgoingMessage(key=KEY, value=build_message(history[0]).value, headers={}))
    store_events(*history)
    newest = admin.list_dead_letters(ListDeadLettersRequest(page_size=1)).dead_letters
    assert [dead_letter.id for dead_letter in newest] == [other]


def test_erasure_that_became_a_dead_letter_can_be_replayed(
    admin: Client, store_events: StoreEvents, create_dead_letter: CreateDeadLetter, sql: Sql
) -> None:
    *events, erased = build_history(patient_id := str(uuid7()))
    store_events(*events)
    message = build_message(erased)
    headers = {"ce_type": "pulsetrack.patient.v1.PatientErased"}  # without the event id
    dead_letter_id = create_dead_letter(OutgoingMessage(key=message.key, value=message.value, headers=headers))
    assert admin.replay_dead_letter(ReplayDeadLetterRequest(id=dead_letter_id)).replay_time
    assert [bytes(row["payload"]) for row in sql(PAYLOADS, patient_id)] == [b""] * 3
