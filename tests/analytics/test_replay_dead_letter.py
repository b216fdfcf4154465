"""ReplayDeadLetter. A temporary constraint on the table makes events fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

import pytest

from gen.pulsetrack.analytics.v1 import (
    DeadLetter,
    GetPatientStatisticsRequest,
    ListDeadLettersRequest,
    ListPatientEventsRequest,
    ReplayDeadLetterRequest,
)
from gen.pulsetrack.patient.v1 import PatientEvent
from services.common.messaging.producer import OutgoingMessage
from tests.analytics.factory import KEY, build_event, build_message
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql

CreateDeadLetter = Callable[[OutgoingMessage], str]


@contextmanager
def reject_events(sql: Sql, actor_id: str) -> Iterator[None]:
    """Makes the table reject events of an actor within the context."""
    sql(f"ALTER TABLE events ADD CONSTRAINT temporary CHECK (actor_id <> '{actor_id}')")
    try:
        yield
    finally:
        sql("ALTER TABLE events DROP CONSTRAINT temporary")


@pytest.fixture
def event() -> PatientEvent:
    return build_event("created", actor_id=str(uuid4()))


@pytest.fixture
def dead_letter_id(sql: Sql, create_dead_letter: CreateDeadLetter, event: PatientEvent) -> str:
    """The id of the dead letter of that event, which can be stored now."""
    with reject_events(sql, event.actor_id):
        return create_dead_letter(build_message(event))


def replay(admin: Client, dead_letter_id: str) -> DeadLetter:
    response: DeadLetter = admin.replay_dead_letter(ReplayDeadLetterRequest(id=dead_letter_id))
    return response


def find_in_list(admin: Client, dead_letter_id: str) -> DeadLetter:
    dead_letters = admin.list_dead_letters(ListDeadLettersRequest(page_size=1000)).dead_letters
    [found] = [dead_letter for dead_letter in dead_letters if dead_letter.id == dead_letter_id]
    return found  # type: ignore[no-any-return]


def list_stored_ids(analytics: Client, event: PatientEvent) -> list[str]:
    """Returns the ids of the stored events of the event's patient."""
    assert event.created
    assert event.created.patient
    request = ListPatientEventsRequest(patient_id=event.created.patient.id)
    return [each.event_id for each in analytics.list_patient_events(request).events]


def count_patients(analytics: Client) -> tuple[int, int]:
    """Returns the numbers of patients and of recent registrations."""
    found = analytics.get_patient_statistics(GetPatientStatisticsRequest())
    return found.total_patients, sum(bucket.registrations for bucket in found.buckets)


def test_replayed_event_is_stored_and_counted(
    admin: Client, analytics: Client, dead_letter_id: str, event: PatientEvent
) -> None:
    patients, registrations = count_patients(analytics)
    assert not list_stored_ids(analytics, event)
    replayed = replay(admin, dead_letter_id)
    assert list_stored_ids(analytics, event) == [event.event_id]
    assert count_patients(analytics) == (patients + 1, registrations + 1)
    assert (replayed.id, replayed.event_id, replayed.attempts) == (dead_letter_id, event.event_id, 2)
    assert replayed.replay_time
    assert replayed.receive_time
    assert replayed.replay_time > replayed.receive_time
    assert find_in_list(admin, dead_letter_id) == replayed


def test_second_replay_returns_the_same_dead_letter(
    admin: Client, analytics: Client, dead_letter_id: str, event: PatientEvent
) -> None:
    replayed, counts = replay(admin, dead_letter_id), count_patients(analytics)
    assert replay(admin, dead_letter_id) == replayed
    assert list_stored_ids(analytics, event) == [event.event_id]
    assert count_patients(analytics) == counts


def test_concurrent_replays_store_the_event_once(
    admin: Client, analytics: Client, dead_letter_id: str, event: PatientEvent
) -> None:
    responses, rejected = call_concurrently([partial(replay, admin, dead_letter_id)] * 8)
    assert not rejected
    assert len({response.replay_time for response in responses}) == 1
    assert list_stored_ids(analytics, event) == [event.event_id]


def test_failed_replay_is_rejected_and_counts_as_an_attempt(
    admin: Client, analytics: Client, sql: Sql, dead_letter_id: str, event: PatientEvent
) -> None:
    with reject_events(sql, event.actor_id):
        for attempts in (2, 3):
            with pytest.raises(Rejected, match="FAILED_PRECONDITION DEAD_LETTER_UNREPLAYABLE"):
                replay(admin, dead_letter_id)
            assert find_in_list(admin, dead_letter_id).attempts == attempts
    assert not list_stored_ids(analytics, event)
    assert find_in_list(admin, dead_letter_id).replay_time is None
    assert replay(admin, dead_letter_id).attempts == 4


def test_replay_of_an_invalid_message_is_rejected_with_a_reason(
    admin: Client, create_dead_letter: CreateDeadLetter
) -> None:
    dead_letter_id = create_dead_letter(OutgoingMessage(key=KEY, value=b"\xff" + uuid4().bytes, headers={}))
    with pytest.raises(Rejected, match="FAILED_PRECONDITION DEAD_LETTER_UNREPLAYABLE"):
        replay(admin, dead_letter_id)
    dead_letter = find_in_list(admin, dead_letter_id)
    assert (dead_letter.attempts, dead_letter.replay_time) == (2, None)
    assert "DecodeError" in dead_letter.reason


def test_unknown_id_is_not_found(admin: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND DEAD_LETTER_NOT_FOUND"):
        replay(admin, str(uuid4()))


def test_only_admins_can_replay(analytics: Client, dead_letter_id: str) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        replay(analytics, dead_letter_id)


@pytest.mark.parametrize("dead_letter_id", ["", "42"])
def test_malformed_id_is_rejected(admin: Client, dead_letter_id: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        replay(admin, dead_letter_id)
    assert list(rejected.value.violations) == ["id"]
