"""WatchPatients: each change is sent once and in order, from now or from a resume token."""

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
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.factory import create_request, update_request
from tests.patient.merging import merge, unmerge

TOKENS = b"the changes of patients" + RESUME_KEY
Watch = ResponseStream[WatchPatientsResponse]


@contextmanager
def watch(client: Client, resume_token: str = "") -> Iterator[tuple[Watch, str]]:
    """Starts a watch, and yields its stream after the first response, and the resume token of that response."""
    with client.watch_patients(WatchPatientsRequest(resume_token=resume_token)) as stream:
        first = next(stream)
        assert first.revision is None
        yield stream, first.resume_token


def read_changes(stream: Watch, count: int) -> list[WatchPatientsResponse]:
    """Returns the next changes, without the heartbeats between them."""
    return list(islice(filter(lambda response: response.revision, stream), count))


def ids_of(responses: list[WatchPatientsResponse]) -> list[str]:
    """Returns the ids of the changed patients."""
    return [response.revision.patient.id for response in responses if response.revision and response.revision.patient]


def test_watch_without_a_token_starts_now(patients: Client) -> None:
    patients.create_patient(create_request())
    with watch(patients) as (stream, _):
        created = patients.create_patient(create_request())
        assert ids_of(read_changes(stream, 1)) == [created.id]


def test_each_change_is_sent_as_its_revision(patients: Client, admin: Client) -> None:
    with watch(patients) as (stream, _):
        created = patients.create_patient(create_request())
        patients.update_patient(update_request(created, name="Ana Costa"))
        admin.delete_patient(DeletePatientRequest(id=created.id))
        admin.undelete_patient(UndeletePatientRequest(id=created.id))
        survivor = patients.create_patient(create_request())
        merge(admin, survivor, created)
        unmerge(admin, created)
        seen = [each for each in read_changes(stream, 7) if ids_of([each]) == [created.id]]
    listed = patients.list_patient_revisions(ListPatientRevisionsRequest(id=created.id)).revisions
    assert [response.revision for response in seen] == listed[::-1]


def test_watch_resumes_after_any_token(patients: Client) -> None:
    with watch(patients) as (stream, begin):
        created = [patients.create_patient(create_request()).id for _ in range(4)]
        seen = read_changes(stream, 4)
    for number, resume_token in enumerate([begin, *(response.resume_token for response in seen)]):
        with watch(patients, resume_token) as (stream, again):
            assert again == resume_token
            assert ids_of(read_changes(stream, len(created) - number)) == created[number:]
            created.append(patients.create_patient(create_request()).id)
            assert ids_of(read_changes(stream, 1)) == created[-1:]


def test_all_watchers_receive_the_same_changes(patients: Client) -> None:
    with watch(patients) as (first, _), watch(patients) as (second, _):
        created = [patients.create_patient(create_request()).id for _ in range(3)]
        assert read_changes(first, 3) == (seen := read_changes(second, 3))
    assert ids_of(seen) == created


def test_watcher_that_is_far_behind_catches_up(patients: Client, sql: Sql) -> None:
    with watch(patients) as (_, begin):
        pass
    more_than_cached = 1500
    created = patients.create_patient(create_request())
    sql(
        "INSERT INTO revisions (patient_id, revision, actor_id, occur_time, type, patient)"
        " SELECT patient_id, n, actor_id, occur_time, type, patient FROM revisions, generate_series(2, $2) n"
        " WHERE patient_id = $1::uuid",
        created.id,
        more_than_cached,
    )
    with watch(patients) as (_, _), watch(patients, begin) as (stream, _):
        numbers = [
            response.revision.revision for response in read_changes(stream, more_than_cached) if response.revision
        ]
        assert numbers == list(range(1, more_than_cached + 1))
        created = patients.create_patient(create_request())
        assert ids_of(read_changes(stream, 1)) == [created.id]


def test_no_change_is_lost_or_repeated_under_concurrent_writes(patients: Client) -> None:
    def write(_: int) -> str:
        created = patients.create_patient(create_request())
        for number in range(4):
            patients.update_patient(update_request(created, name=f"Ana {number}"))
        return str(created.id)

    seen: list[WatchPatientsResponse] = []
    with watch(patients) as (_, begin), ThreadPoolExecutor(4) as threads:
        resume_token, written = begin, threads.map(write, range(16))
        for count in (5, 1, 20, 14, 40):  # disconnects after each count, and resumes
            with watch(patients, resume_token) as (stream, _):
                seen += read_changes(stream, count)
            resume_token = seen[-1].resume_token
    of_each: dict[str, list[int]] = {}
    for response in seen:
        assert response.revision
        assert response.revision.patient
        of_each.setdefault(response.revision.patient.id, []).append(response.revision.revision)
    assert of_each == {patient_id: [1, 2, 3, 4, 5] for patient_id in written}


def test_changes_of_another_process_are_sent(
    patients: Client, background: Background, signer: Signer, database_url: str
) -> None:
    serving = serve_service("patient", database_url, TokenVerifier(signer.trust))
    with (
        background.during(serving) as port,
        connect(port, "patient", signer.token("USER")) as other,
        watch(patients) as (stream, _),
    ):
        created = other.create_patient(create_request())
        assert ids_of(read_changes(stream, 1)) == [created.id]


def test_heartbeats_carry_a_valid_resume_token(patients: Client) -> None:
    with watch(patients) as (stream, begin):
        heartbeats = [next(stream) for _ in range(3)]
    assert [(heartbeat.revision, heartbeat.resume_token) for heartbeat in heartbeats] == [(None, begin)] * 3
    created = patients.create_patient(create_request())
    with watch(patients, begin) as (stream, _):
        assert ids_of(read_changes(stream, 1)) == [created.id]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: "garbage", id="garbage"),
        pytest.param(lambda good: good[:-1], id="cut"),
        pytest.param(lambda good: good + "A", id="longer"),
        pytest.param(lambda good: f"{good}=", id="padded"),
        pytest.param(lambda good: ("B" if good[0] == "A" else "A") + good[1:], id="changed"),
        pytest.param(lambda _: cursor.encode((1, 2), b"another list"), id="of another list"),
        pytest.param(lambda _: cursor.encode((2**62, 1), TOKENS), id="of the future"),
        pytest.param(lambda _: cursor.encode("x", TOKENS), id="not a position"),
        pytest.param(lambda _: cursor.encode((0, 0), b"the changes of patients"), id="the start, forged"),
    ],
)
def test_forged_or_altered_resume_token_is_rejected(patients: Client, change: Callable[[str], str]) -> None:
    patients.create_patient(create_request())
    with watch(patients) as (_, good):
        pass
    with pytest.raises(Rejected) as rejected, watch(patients, change(good)):
        pass
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")


def test_too_long_resume_token_is_rejected(patients: Client) -> None:
    with pytest.raises(Rejected) as rejected, watch(patients, "A" * 129):
        pass
    assert rejected.value.violations.keys() == {"resume_token"}


def test_resume_token_of_a_lost_change_is_rejected(patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    with watch(patients) as (_, lost):
        pass
    sql("DELETE FROM revisions WHERE patient_id = $1::uuid", created.id)
    with pytest.raises(Rejected) as rejected, watch(patients, lost):
        pass
    assert rejected.value.reason == "RESUME_TOKEN_INVALID"


def test_each_sent_change_records_an_access_event(patients: Client, admin: Client) -> None:
    with watch(patients) as (stream, _):
        created = patients.create_patient(create_request())
        read_changes(stream, 1)
        events = wait_for_events(admin, created.id, 2)
    assert summarize(events) == [("CreatePatient", "OK"), ("WatchPatients", "OK")]
    assert {event.actor_id for event in events} == {USER_ID}
