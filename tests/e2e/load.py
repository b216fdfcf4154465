"""Somebody who goes on creating patients."""

import threading
import time
from typing import Any, Self
from uuid import uuid4

import httpx

from tests.e2e.sessions import Session, a_patient


class Load:
    """Creates patients at a steady pace while its context is open: one try each, on a connection that is kept."""

    def __init__(self, user: Session, *, per_second: int) -> None:
        self.created: list[str] = []
        """The ids that were answered."""
        self.failed: list[str] = []
        """What went wrong instead."""
        self._user = user
        self._pause = 1 / per_second
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            begun = time.monotonic()
            self._create()
            self._over.wait(max(0, self._pause - (time.monotonic() - begun)))

    def _create(self) -> None:
        clock = time.strftime("%H:%M:%S")
        try:
            answer: Any = self._user.rest.post("/v1/patients", json=a_patient(), params={"requestId": str(uuid4())})
        except httpx.TransportError as error:
            self.failed.append(f"{clock} {error!r}")
            return
        if answer.status_code == httpx.codes.OK:
            self.created.append(answer.json()["id"])
        else:
            self.failed.append(f"{clock} {answer.status_code} {answer.text}")
