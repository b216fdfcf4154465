"""Clients that create patients continuously, with retries."""

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
"""The timeout after which a client retries."""


class PatientCreator:
    """Creates patients while its context is open. Retries each with the same request id until it is acknowledged."""

    def __init__(self, instance: Instance) -> None:
        self.acknowledged: list[str] = []
        """The ids of acknowledged patients."""
        self.tries_failed = 0
        self._instance = instance
        self._times = [time.monotonic()]
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(_CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._times.append(time.monotonic())

    def longest_silence(self) -> float:
        """Returns the longest time, in seconds, without an acknowledged patient."""
        times = sorted(self._times)
        return max(later - earlier for earlier, later in pairwise(times))

    def _run(self) -> None:
        with httpx.Client(base_url=self._instance.url, timeout=_TRY_SECONDS) as client:
            while not self._stopped.wait(_PAUSE_SECONDS):
                created = self._create(client)
                self.acknowledged.append(created)
                self._times.append(time.monotonic())

    def _create(self, client: httpx.Client) -> str:
        """Retries until the patient is acknowledged, and logs in again when the token is rejected."""
        patient, request_id = a_patient(), str(uuid4())
        while True:
            with suppress(httpx.TransportError):  # the gateway is unavailable, or the request timed out
                response = client.post("/v1/patients", json=patient, params={"requestId": request_id})
                if response.is_success:
                    return str(response.json()["id"])
                if response.status_code == httpx.codes.UNAUTHORIZED:
                    log_in(client, self._instance)
                    continue
            self.tries_failed += 1
            time.sleep(_PAUSE_SECONDS)


def log_in(client: httpx.Client, instance: Instance) -> None:
    """Logs a client in as the first admin, or pauses if the login fails."""
    client.headers.pop("authorization", None)
    credentials = {"email": "admin@pulsetrack.local", "password": instance.admin_password}
    response: Any = client.post("/v1/auth/login", json=credentials)
    if response.is_success:
        client.headers["authorization"] = f"Bearer {response.json()['accessToken']}"
    else:
        time.sleep(_PAUSE_SECONDS)
