"""WatchPatients through the gateway: over gRPC, as NDJSON, and while processes are killed."""

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
def watch_lines(session: Session, **query: str) -> Iterator[Iterator[dict[str, object]]]:
    """Watches over REST, and yields responses as they arrive."""
    with session.rest.stream("GET", PATH, params=query) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
        yield map(json.loads, response.iter_lines())


def test_rest_watch_sends_each_change_as_a_json_line(user: Session) -> None:
    with watch_lines(user) as responses:
        assert next(responses).keys() == {"resumeToken"}
        for _ in range(3):
            created = user.post("/v1/patients", a_patient())
            response = next(responses)
            assert response["revision"]["patient"] == created  # type: ignore[index]
            assert response["resumeToken"]


def test_resume_tokens_are_valid_across_grpc_and_rest(user: Session) -> None:
    with watch_lines(user) as responses:
        token = str(next(responses)["resumeToken"])
    created = user.post("/v1/patients", a_patient())
    with user.client("patient").watch_patients(WatchPatientsRequest(resume_token=token)) as watch:
        assert next(watch).resume_token == token
        response = next(watch)
        assert response.revision.patient.id == created["id"]
    with watch_lines(user, resumeToken=token) as responses:
        assert next(responses) == {"resumeToken": token}
        assert next(responses)["resumeToken"] == response.resume_token


def test_rejected_watch_has_an_error_status_and_a_reason(user: Session) -> None:
    response = user.rest.get(PATH, params={"resumeToken": "garbage"})
    assert (response.status_code, response.headers["content-type"]) == (400, "application/json")
    assert response.json()["details"][0]["reason"] == "RESUME_TOKEN_INVALID"


@pytest.fixture(scope="module")
def own_instance(new_folder: NewFolder) -> Iterator[Instance]:
    """An instance whose processes are killed."""
    with run_instance(new_folder("watched"), PULSETRACK_RATE_LIMITS="off") as instance:
        yield instance


@pytest.mark.parametrize("part", ["patient", "postgres"])
def test_resumed_watch_misses_no_change_when_a_process_is_killed(own_instance: Instance, part: str) -> None:
    with Session.sign_up(own_instance) as session:
        started, stopped = threading.Event(), threading.Event()
        seen: dict[str, list[int]] = defaultdict(list)
        watcher = threading.Thread(target=keep_watching, args=(session, seen, started, stopped))
        watcher.start()
        try:
            assert started.wait(20)
            written = write_during_kill(session, own_instance, part)
            limit = time.monotonic() + 60
            while seen != written and time.monotonic() < limit:
                time.sleep(0.1)
        finally:
            stopped.set()
            retry_until_success(session, "POST", "/v1/patients", {}, a_patient())  # wakes the watcher
            watcher.join(60)
    assert seen == written


def keep_watching(
    session: Session, seen: dict[str, list[int]], started: threading.Event, stopped: threading.Event
) -> None:
    """Watches until stopped, and resumes with the last token whenever the stream ends."""
    token = ""
    while not stopped.is_set():
        request = WatchPatientsRequest(resume_token=token)
        with suppress(Rejected), session.client("patient").watch_patients(request) as responses:
            for response in responses:
                if stopped.is_set():
                    return
                token = response.resume_token
                started.set()
                if response.revision:
                    seen[response.revision.patient.id].append(response.revision.revision)
        time.sleep(0.1)


def write_during_kill(session: Session, instance: Instance, part: str) -> dict[str, list[int]]:
    """Creates and updates patients with retries while a process is killed, and returns the expected revisions."""
    written = {}
    for number in range(ALL):
        if number in (ALL // 3, ALL // 2):
            os.kill(instance.state().processes[part].pid, signal.SIGKILL)
        created = retry_until_success(session, "POST", "/v1/patients", {"Idempotency-Key": str(uuid4())}, a_patient())
        retry_until_success(session, "PATCH", f"/v1/patients/{created['id']}", {}, {"phone": "112"})
        written[created["id"]] = [1, 2]
    return written


def retry_until_success(
    session: Session, verb: str, path: str, headers: dict[str, str], body: object
) -> dict[str, str]:
    """Retries a request until it succeeds, and returns the response."""
    limit = time.monotonic() + 60
    while True:
        with suppress(httpx.TransportError):
            response = session.rest.request(verb, path, headers=headers, json=body)
            if response.is_success:
                patient: dict[str, str] = response.json()
                return patient
            assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE, response.text
        assert time.monotonic() < limit
        time.sleep(0.1)
