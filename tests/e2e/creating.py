"""Clients that create patients without a break, whatever happens to the system."""

import threading
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any, Self
from uuid import uuid4

import httpx

from tests.e2e.sessions import a_patient
from tools.instance import Instance

_CLIENTS = 3
_PAUSE_SECONDS = 0.25
_TRY_SECONDS = 5
"""After which a client asks again."""


class Creating:
    """Creates patients while its context is open, each with one request id until it is acknowledged."""

    def __init__(self, copy: Instance) -> None:
        self.acknowledged: list[str] = []
        """The ids of the patients."""
        self.tries_failed = 0
        self._copy = copy
        self._times = [time.monotonic()]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(_CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._times.append(time.monotonic())

    def longest_silence(self) -> float:
        """Returns the longest time, in seconds, in which no client had a patient acknowledged."""
        times = sorted(self._times)
        return max(later - earlier for earlier, later in pairwise(times))

    def _run(self) -> None:
        with httpx.Client(base_url=self._copy.url, timeout=_TRY_SECONDS) as client:
            while not self._over.wait(_PAUSE_SECONDS):
                created = self._create(client)
                self.acknowledged.append(created)
                self._times.append(time.monotonic())

    def _create(self, client: httpx.Client) -> str:
        """Asks until the patient is acknowledged, logging in when the token is no longer good."""
        patient, request_id = a_patient(), str(uuid4())
        while True:
            with suppress(httpx.TransportError):  # the gateway is away, or an answer takes too long
                answer = client.post("/v1/patients", json=patient, params={"requestId": request_id})
                if answer.is_success:
                    return str(answer.json()["id"])
                if answer.status_code == httpx.codes.UNAUTHORIZED:
                    log_in(client, self._copy)
                    continue
            self.tries_failed += 1
            time.sleep(_PAUSE_SECONDS)


def log_in(client: httpx.Client, copy: Instance) -> None:
    """Logs a client in as the first admin, if that can be done now."""
    client.headers.pop("authorization", None)
    who = {"email": "admin@pulsetrack.local", "password": copy.admin_password}
    answer: Any = client.post("/v1/auth/login", json=who)
    if answer.is_success:
        client.headers["authorization"] = f"Bearer {answer.json()['accessToken']}"
    else:
        time.sleep(_PAUSE_SECONDS)
