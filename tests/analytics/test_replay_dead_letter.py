"""ReplayDeadLetter. What keeps an event from being stored here is a constraint, which comes and goes."""

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

Keep = Callable[[OutgoingMessage], str]


@contextmanager
def refusing(sql: Sql, actor_id: str) -> Iterator[None]:
    """Refuses to store what an actor did, during a block."""
    sql(f"ALTER TABLE events ADD CONSTRAINT refusing CHECK (actor_id <> '{actor_id}')")
    try:
        yield
    finally:
        sql("ALTER TABLE events DROP CONSTRAINT refusing")


@pytest.fixture
def event() -> PatientEvent:
    return build_event("created", actor_id=str(uuid4()))


@pytest.fixture
def kept(sql: Sql, dead_letter: Keep, event: PatientEvent) -> str:
    """The id of that event's dead letter, which could be stored by now."""
    with refusing(sql, event.actor_id):
        return dead_letter(build_message(event))


def replay(admin: Client, letter_id: str) -> DeadLetter:
    answer: DeadLetter = admin.replay_dead_letter(ReplayDeadLetterRequest(id=letter_id))
    return answer


def listed(admin: Client, letter_id: str) -> DeadLetter:
    letters = admin.list_dead_letters(ListDeadLettersRequest(page_size=1000)).dead_letters
    [found] = [letter for letter in letters if letter.id == letter_id]
    return found  # type: ignore[no-any-return]


def stored(analytics: Client, event: PatientEvent) -> list[str]:
    """Returns the ids of the stored events of the event's patient."""
    assert event.created
    assert event.created.patient
    request = ListPatientEventsRequest(patient_id=event.created.patient.id)
    return [each.event_id for each in analytics.list_patient_events(request).events]


def test_a_replayed_event_is_stored_and_counted(
    admin: Client, analytics: Client, kept: str, event: PatientEvent
) -> None:
    before = analytics.get_patient_statistics(GetPatientStatisticsRequest()).total_patients
    assert not stored(analytics, event)
    replayed = replay(admin, kept)
    assert stored(analytics, event) == [event.event_id]
    assert analytics.get_patient_statistics(GetPatientStatisticsRequest()).total_patients == before + 1
    assert (replayed.id, replayed.event_id, replayed.attempts) == (kept, event.event_id, 2)
    assert replayed.replay_time
    assert replayed.receive_time
    assert replayed.replay_time > replayed.receive_time
    assert listed(admin, kept) == replayed


def test_replayed_again_it_is_returned_as_it_is(
    admin: Client, analytics: Client, kept: str, event: PatientEvent
) -> None:
    assert replay(admin, kept) == replay(admin, kept)
    assert stored(analytics, event) == [event.event_id]


def test_replayed_many_times_at_once_it_is_stored_once(
    admin: Client, analytics: Client, kept: str, event: PatientEvent
) -> None:
    answers, refused = call_concurrently([partial(replay, admin, kept)] * 8)
    assert not refused
    assert len({answer.replay_time for answer in answers}) == 1
    assert stored(analytics, event) == [event.event_id]


def test_what_can_still_not_be_stored_is_refused_and_the_attempts_are_counted(
    admin: Client, analytics: Client, sql: Sql, kept: str, event: PatientEvent
) -> None:
    with refusing(sql, event.actor_id):
        for attempts in (2, 3):
            with pytest.raises(Rejected, match="FAILED_PRECONDITION DEAD_LETTER_UNREPLAYABLE"):
                replay(admin, kept)
            assert listed(admin, kept).attempts == attempts
    assert not stored(analytics, event)
    assert listed(admin, kept).replay_time is None
    assert replay(admin, kept).attempts == 4


def test_what_is_no_event_is_refused_and_says_why(admin: Client, dead_letter: Keep) -> None:
    letter_id = dead_letter(OutgoingMessage(key=KEY, value=b"\xff" + uuid4().bytes, headers={}))
    with pytest.raises(Rejected, match="FAILED_PRECONDITION DEAD_LETTER_UNREPLAYABLE"):
        replay(admin, letter_id)
    letter = listed(admin, letter_id)
    assert (letter.attempts, letter.replay_time) == (2, None)
    assert "DecodeError" in letter.reason


def test_an_unknown_id_is_not_found(admin: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND DEAD_LETTER_NOT_FOUND"):
        replay(admin, str(uuid4()))


def test_only_admins_may_replay(analytics: Client, kept: str) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        replay(analytics, kept)


@pytest.mark.parametrize("letter_id", ["", "42"])
def test_what_is_no_uuid_is_refused(admin: Client, letter_id: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        replay(admin, letter_id)
    assert list(refused.value.violations) == ["id"]
