"""WatchPatients: each change once and in order, from where the watch begins or goes on."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import pytest
from grpc import StatusCode

from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    ListPatientRevisionsRequest,
    UndeletePatientRequest,
    WatchPatientsRequest,
    WatchPatientsResponse,
)
from services.common.postgres import cursor
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, ResponseStream, connect
from tests.harness.services import RESUME_KEY, serve_service
from tests.harness.sql import Sql
from tests.harness.tokens import USER_ID, Signer
from tests.patient.accesses import summarize, wait_for_events
from tests.patient.factory import create_request, update_request

TOKENS = b"the changes of patients" + RESUME_KEY
Watch = ResponseStream[WatchPatientsResponse]


@contextmanager
def watching(client: Client, resume_token: str = "") -> Iterator[tuple[Watch, str]]:
    """Watches, and yields the answers behind the first, and the resume token of that."""
    with client.watch_patients(WatchPatientsRequest(resume_token=resume_token)) as answers:
        first = next(answers)
        assert first.revision is None
        yield answers, first.resume_token


def changes(answers: Watch, count: int) -> list[WatchPatientsResponse]:
    """Returns so many changes, and leaves out the heartbeats between them."""
    return list(islice(filter(lambda answer: answer.revision, answers), count))


def ids(answers: list[WatchPatientsResponse]) -> list[str]:
    """Returns of which patients changes are."""
    return [answer.revision.patient.id for answer in answers if answer.revision and answer.revision.patient]


def test_a_watch_begins_now(patients: Client) -> None:
    patients.create_patient(create_request())
    with watching(patients) as (answers, _):
        created = patients.create_patient(create_request())
        assert ids(changes(answers, 1)) == [created.id]


def test_each_change_comes_as_its_revision(patients: Client, admin: Client) -> None:
    with watching(patients) as (answers, _):
        created = patients.create_patient(create_request())
        patients.update_patient(update_request(created, name="Ana Costa"))
        admin.delete_patient(DeletePatientRequest(id=created.id))
        admin.undelete_patient(UndeletePatientRequest(id=created.id))
        seen = changes(answers, 4)
    listed = patients.list_patient_revisions(ListPatientRevisionsRequest(id=created.id)).revisions
    assert [answer.revision for answer in seen] == listed[::-1]


def test_a_watch_goes_on_behind_each_token_with_what_came_since(patients: Client) -> None:
    with watching(patients) as (answers, begin):
        created = [patients.create_patient(create_request()).id for _ in range(4)]
        seen = changes(answers, 4)
    for number, resume_token in enumerate([begin, *(answer.resume_token for answer in seen)]):
        with watching(patients, resume_token) as (answers, again):
            assert again == resume_token
            assert ids(changes(answers, len(created) - number)) == created[number:]
            created.append(patients.create_patient(create_request()).id)
            assert ids(changes(answers, 1)) == created[-1:]


def test_all_who_watch_see_the_same(patients: Client) -> None:
    with watching(patients) as (first, _), watching(patients) as (second, _):
        created = [patients.create_patient(create_request()).id for _ in range(3)]
        assert changes(first, 3) == (seen := changes(second, 3))
    assert ids(seen) == created


def test_who_is_far_behind_catches_up(patients: Client, sql: Sql) -> None:
    with watching(patients) as (_, begin):
        pass
    more_than_are_kept = 1500
    created = patients.create_patient(create_request())
    sql(
        "INSERT INTO revisions (patient_id, revision, actor_id, occur_time, type, patient)"
        " SELECT patient_id, n, actor_id, occur_time, type, patient FROM revisions, generate_series(2, $2) n"
        " WHERE patient_id = $1::uuid",
        created.id,
        more_than_are_kept,
    )
    with watching(patients) as (_, _), watching(patients, begin) as (answers, _):
        numbers = [answer.revision.revision for answer in changes(answers, more_than_are_kept) if answer.revision]
        assert numbers == list(range(1, more_than_are_kept + 1))
        created = patients.create_patient(create_request())
        assert ids(changes(answers, 1)) == [created.id]


def test_nothing_is_missed_and_nothing_comes_twice_while_many_write(patients: Client) -> None:
    def write(_: int) -> str:
        created = patients.create_patient(create_request())
        for number in range(4):
            patients.update_patient(update_request(created, name=f"Ana {number}"))
        return str(created.id)

    seen: list[WatchPatientsResponse] = []
    with watching(patients) as (_, begin), ThreadPoolExecutor(4) as threads:
        resume_token, written = begin, threads.map(write, range(16))
        for count in (5, 1, 20, 14, 40):  # hangs up in between, and goes on
            with watching(patients, resume_token) as (answers, _):
                seen += changes(answers, count)
            resume_token = seen[-1].resume_token
    of_each: dict[str, list[int]] = {}
    for answer in seen:
        assert answer.revision
        assert answer.revision.patient
        of_each.setdefault(answer.revision.patient.id, []).append(answer.revision.revision)
    assert of_each == {patient_id: [1, 2, 3, 4, 5] for patient_id in written}


def test_the_changes_of_another_process_are_seen(
    patients: Client, background: Background, signer: Signer, database_url: str
) -> None:
    serving = serve_service("patient", database_url, TokenVerifier(signer.trust))
    with (
        background.during(serving) as port,
        connect(port, "patient", signer.token("USER")) as other,
        watching(patients) as (answers, _),
    ):
        created = other.create_patient(create_request())
        assert ids(changes(answers, 1)) == [created.id]


def test_a_silent_watch_beats_with_a_token_that_goes_on(patients: Client) -> None:
    with watching(patients) as (answers, begin):
        beats = [next(answers) for _ in range(3)]
    assert [(beat.revision, beat.resume_token) for beat in beats] == [(None, begin)] * 3
    created = patients.create_patient(create_request())
    with watching(patients, begin) as (answers, _):
        assert ids(changes(answers, 1)) == [created.id]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: "garbage", id="garbage"),
        pytest.param(lambda good: good[:-1], id="cut"),
        pytest.param(lambda good: good + "A", id="longer"),
        pytest.param(lambda good: f"{good}=", id="padded"),
        pytest.param(lambda good: ("B" if good[0] == "A" else "A") + good[1:], id="changed"),
        pytest.param(lambda _: cursor.encode((1, 2), b"another list"), id="another's"),
        pytest.param(lambda _: cursor.encode((2**62, 1), TOKENS), id="of the future"),
        pytest.param(lambda _: cursor.encode("x", TOKENS), id="no place"),
        pytest.param(lambda _: cursor.encode((0, 0), b"the changes of patients"), id="the start, forged"),
    ],
)
def test_a_token_that_is_not_ours_is_refused(patients: Client, change: Callable[[str], str]) -> None:
    patients.create_patient(create_request())
    with watching(patients) as (_, good):
        pass
    with pytest.raises(Rejected) as refused, watching(patients, change(good)):
        pass
    assert (refused.value.code, refused.value.reason) == (StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")


def test_a_token_that_is_too_long_is_refused(patients: Client) -> None:
    with pytest.raises(Rejected) as refused, watching(patients, "A" * 129):
        pass
    assert refused.value.violations.keys() == {"resume_token"}


def test_a_token_of_what_a_restored_database_lacks_is_refused(patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    with watching(patients) as (_, lost):
        pass
    sql("DELETE FROM revisions WHERE patient_id = $1::uuid", created.id)
    with pytest.raises(Rejected) as refused, watching(patients, lost):
        pass
    assert refused.value.reason == "RESUME_TOKEN_INVALID"


def test_each_change_that_is_told_leaves_an_access_event(patients: Client, admin: Client) -> None:
    with watching(patients) as (answers, _):
        created = patients.create_patient(create_request())
        changes(answers, 1)
        events = wait_for_events(admin, created.id, 2)
    assert summarize(events) == [("CreatePatient", "OK"), ("WatchPatients", "OK")]
    assert {event.actor_id for event in events} == {USER_ID}
