"""A watch that resumes after a killed process misses no change."""

import os
import signal
import threading
import time
from collections import defaultdict
from contextlib import suppress
from uuid import uuid4

import httpx
import pytest

from gen.pulsetrack.patient.v1 import WatchPatientsRequest
from tests.e2e.sessions import Session, a_patient
from tests.harness.client import Rejected
from tools.instance import Instance

ALL = 60


@pytest.mark.parametrize("part", ["patient", "postgres"])
def test_resumed_watch_misses_no_change_when_a_process_is_killed(expendable: Instance, part: str) -> None:
    expendable.wait_until_ready()
    with Session.sign_up(expendable) as session:
        started, stopped = threading.Event(), threading.Event()
        seen: dict[str, list[int]] = defaultdict(list)
        watcher = threading.Thread(target=keep_watching, args=(session, seen, started, stopped))
        watcher.start()
        try:
            assert started.wait(20)
            written = write_during_kill(session, expendable, part)
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
