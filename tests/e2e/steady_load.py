"""A client that creates patients at a steady rate."""

import threading
import time
from typing import Any, Self
from uuid import uuid4

import httpx

from tests.e2e.sessions import Session, a_patient


class Load:
    """Creates patients at a steady rate while its context is open, without retries, on one connection."""

    def __init__(self, user: Session, *, per_second: int) -> None:
        self.created: list[str] = []
        """The ids of created patients."""
        self.failed: list[str] = []
        """A description of each failure."""
        self._user = user
        self._pause = 1 / per_second
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            started = time.monotonic()
            self._create()
            self._stopped.wait(max(0, self._pause - (time.monotonic() - started)))

    def _create(self) -> None:
        clock = time.strftime("%H:%M:%S")
        try:
            response: Any = self._user.rest.post("/v1/patients", json=a_patient(), params={"requestId": str(uuid4())})
        except httpx.TransportError as error:
            self.failed.append(f"{clock} {error!r}")
            return
        if response.status_code == httpx.codes.OK:
            self.created.append(response.json()["id"])
        else:
            self.failed.append(f"{clock} {response.status_code} {response.text}")
