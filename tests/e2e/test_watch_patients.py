"""WatchPatients through the gateway: natively, as NDJSON, and across the death of its parts."""

import json
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import httpx
import pytest

from gen.pulsetrack.patient.v1 import WatchPatientsRequest
from tests.e2e.sessions import Session, a_patient
from tests.harness.client import Rejected
from tests.harness.system import NewFolder
from tools.instance import Instance, run_instance

PATH = "/v1/patients:watch"
ALL = 60


@contextmanager
def lines(session: Session, **query: str) -> Iterator[Iterator[dict[str, object]]]:
    """Watches by REST, and yields the answers as they come."""
    with session.rest.stream("GET", PATH, params=query) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        yield map(json.loads, answer.iter_lines())


def test_rest_watch_sends_each_change_as_a_json_line(user: Session) -> None:
    with lines(user) as answers:
        assert next(answers).keys() == {"resumeToken"}
        for _ in range(3):
            created = user.post("/v1/patients", a_patient())
            answer = next(answers)
            assert answer["revision"]["patient"] == created  # type: ignore[index]
            assert answer["resumeToken"]


def test_resume_tokens_are_valid_across_grpc_and_rest(user: Session) -> None:
    with lines(user) as answers:
        token = str(next(answers)["resumeToken"])
    created = user.post("/v1/patients", a_patient())
    with user.client("patient").watch_patients(WatchPatientsRequest(resume_token=token)) as watch:
        assert next(watch).resume_token == token
        answer = next(watch)
        assert answer.revision.patient.id == created["id"]
    with lines(user, resumeToken=token) as answers:
        assert next(answers) == {"resumeToken": token}
        assert next(answers)["resumeToken"] == answer.resume_token


def test_rejected_watch_has_an_error_status_and_a_reason(user: Session) -> None:
    answer = user.rest.get(PATH, params={"resumeToken": "garbage"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    assert answer.json()["details"][0]["reason"] == "RESUME_TOKEN_INVALID"


@pytest.fixture(scope="module")
def fragile(new_folder: NewFolder) -> Iterator[Instance]:
    """A copy whose parts are killed."""
    with run_instance(new_folder("watched"), PULSETRACK_RATE_LIMITS="off") as copy:
        yield copy


@pytest.mark.parametrize("part", ["patient", "postgres"])
def test_resumed_watch_misses_no_change_when_a_process_is_killed(fragile: Instance, part: str) -> None:
    with Session.sign_up(fragile) as session:
        begun, stopped = threading.Event(), threading.Event()
        seen: dict[str, list[int]] = defaultdict(list)
        watcher = threading.Thread(target=watch_on, args=(session, seen, begun, stopped))
        watcher.start()
        try:
            assert begun.wait(20)
            written = write_while_it_dies(session, fragile, part)
            limit = time.monotonic() + 60
            while seen != written and time.monotonic() < limit:
                time.sleep(0.1)
        finally:
            stopped.set()
            until_it_succeeds(session, "POST", "/v1/patients", {}, a_patient())  # wakes the watcher
            watcher.join(60)
    assert seen == written


def watch_on(session: Session, seen: dict[str, list[int]], begun: threading.Event, stopped: threading.Event) -> None:
    """Watches until it is stopped, and after each end goes on with the last token that it got."""
    token = ""
    while not stopped.is_set():
        request = WatchPatientsRequest(resume_token=token)
        with suppress(Rejected), session.client("patient").watch_patients(request) as answers:
            for answer in answers:
                if stopped.is_set():
                    return
                token = answer.resume_token
                begun.set()
                if answer.revision:
                    seen[answer.revision.patient.id].append(answer.revision.revision)
        time.sleep(0.1)


def write_while_it_dies(session: Session, copy: Instance, part: str) -> dict[str, list[int]]:
    """Creates patients and changes them, kills the part in between, tries again, and returns their revisions."""
    written = {}
    for number in range(ALL):
        if number in (ALL // 3, ALL // 2):
            os.kill(copy.state().processes[part].pid, signal.SIGKILL)
        created = until_it_succeeds(session, "POST", "/v1/patients", {"Idempotency-Key": str(uuid4())}, a_patient())
        until_it_succeeds(session, "PATCH", f"/v1/patients/{created['id']}", {}, {"phone": "112"})
        written[created["id"]] = [1, 2]
    return written


def until_it_succeeds(session: Session, verb: str, path: str, headers: dict[str, str], body: object) -> dict[str, str]:
    """Makes a call again while it fails, and returns its answer."""
    limit = time.monotonic() + 60
    while True:
        with suppress(httpx.TransportError):
            answer = session.rest.request(verb, path, headers=headers, json=body)
            if answer.is_success:
                patient: dict[str, str] = answer.json()
                return patient
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
        assert time.monotonic() < limit
        time.sleep(0.1)
