"""The workload of a clinic: calls on generated users and patients, and streams that watch the changes."""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from random import Random
from typing import Self
from uuid import uuid4

from tools.load.clients import Client, Json, Response, StreamError
from tools.load.errors import LoadError
from tools.load.measurement import OK, Call, Outcome

_PAGE_SIZE = 50
_PATIENTS = 50
_RETRY_SECONDS = 2.0
_WATCH_SECONDS = 10
"""Timeout for opening the streams, and for a change to reach all of them."""

_MIX = {"get_patient": 60, "list_patients": 20, "create_patient": 10, "update_patient": 10}
"""Mix of calls in percent."""


class Clinic:
    """Makes calls with a client. Successive calls use different users and patients."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._accounts: list[Json] = []
        self._patients: list[str] = []
        self._sequence = count()
        self._mix = _mix_calls()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Signs up and logs in a user, creates patients, and renews the session until exit.

        Raises LoadError if a call fails.
        """
        _require_ok(await self._sign_up())
        lifetime = await self._log_in()
        while len(self._patients) < _PATIENTS:
            _, status = await self.create_patient()
            _require_ok(status)
        renewal = asyncio.create_task(self._renew_token(lifetime))
        try:
            yield
        finally:
            renewal.cancel()

    async def sign_up(self) -> Outcome:
        """Signs up a new user."""
        return "SignUp", await self._sign_up()

    async def log_in(self) -> Outcome:
        """Logs in an existing user."""
        credentials = self._accounts[next(self._sequence) % len(self._accounts)]
        return "Login", (await self._client.call("Login", credentials)).status

    async def create_patient(self) -> Outcome:
        """Creates a patient."""
        response = await self._client.call("CreatePatient", {"patient": _new_patient()})
        if response.status == OK:
            self._patients.append(response.json()["id"])
        return "CreatePatient", response.status

    async def get_patient(self) -> Outcome:
        """Gets a patient."""
        return "GetPatient", (await self._client.call("GetPatient", {"id": self.next_patient()})).status

    async def list_patients(self) -> Outcome:
        """Lists the newest patients."""
        return "ListPatients", (await self._client.call("ListPatients", {"pageSize": _PAGE_SIZE})).status

    async def update_patient(self) -> Outcome:
        """Updates the phone number of a patient."""
        return "UpdatePatient", (await self.update_phone(self.next_patient())).status

    async def update_phone(self, patient: str) -> Response:
        """Updates the phone number of the patient with this id."""
        return await self._client.call(
            "UpdatePatient", {"patient": {"id": patient, "phone": f"+351 {next(self._sequence):09}"}}
        )

    async def mixed_call(self) -> Outcome:
        """Makes the next call of the mix."""
        call: Call = getattr(self, next(self._mix))
        return await call()

    def next_patient(self) -> str:
        """Returns the id of the next patient in rotation."""
        return self._patients[next(self._sequence) % len(self._patients)]

    async def _sign_up(self) -> str:
        name = f"load-{uuid4()}"
        credentials = {"email": f"{name}@load.test", "password": secrets.token_urlsafe()}
        response = await self._client.call("SignUp", {**credentials, "username": name})
        if response.status == OK:
            self._accounts.append(credentials)
        return response.status

    async def _log_in(self) -> float:
        """Sets a new access token on the client. Returns its lifetime in seconds."""
        response = await self._client.call("Login", self._accounts[0])
        _require_ok(response.status)
        tokens = response.json()
        self._client.token = tokens["accessToken"]
        return float(tokens["expiresIn"])

    async def _renew_token(self, lifetime: float) -> None:
        while True:
            await asyncio.sleep(lifetime / 2)
            try:
                lifetime = await self._log_in()
            except LoadError:
                lifetime = _RETRY_SECONDS


@dataclass
class _Change:
    """A change of a patient, and the watchers that received it."""

    seen_by: set[int] = field(default_factory=set)
    seen_by_all: asyncio.Event = field(default_factory=asyncio.Event)


class Watchers:
    """Concurrent WatchPatients streams. Each must receive every change exactly once."""

    def __init__(self, clinic: Clinic, client: Client, number: int) -> None:
        self._clinic = clinic
        self._client = client
        self._number = number
        self._changes: dict[tuple[str, str], _Change] = defaultdict(_Change)
        self._errors: list[str] = []

    async def __aenter__(self) -> Self:
        """Opens the streams. Raises LoadError if not all open in time."""
        opened = asyncio.Barrier(self._number + 1)
        self._tasks = [asyncio.create_task(self._watch(watcher, opened)) for watcher in range(self._number)]
        try:
            await asyncio.wait_for(opened.wait(), _WATCH_SECONDS)
        except TimeoutError:
            await self.__aexit__()
            raise LoadError(f"Not all of the {self._number} streams opened: {self._errors or 'no response'}.") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the streams."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def update_patient(self) -> Outcome:
        """Updates a patient and waits until all streams have received the change."""
        response = await self._clinic.update_phone(self._clinic.next_patient())
        if response.status != OK:
            return "UpdatePatient", response.status
        patient = response.json()
        change = self._changes[patient["id"], patient["etag"]]
        try:
            await asyncio.wait_for(change.seen_by_all.wait(), _WATCH_SECONDS)
        except TimeoutError:
            unseen = f"UNSEEN by {self._number - len(change.seen_by)}"
            return "WatchPatients", self._errors[0] if self._errors else unseen
        return "WatchPatients", OK

    async def _watch(self, watcher: int, opened: asyncio.Barrier) -> None:
        try:
            responses = self._client.stream("WatchPatients", {})
            await anext(responses)
            await opened.wait()
            async for response in responses:
                if "revision" in response:
                    self._record_change(watcher, response["revision"]["patient"])
            self._errors.append("STREAM_ENDED")
        except StreamError as error:
            self._errors.append(str(error))

    def _record_change(self, watcher: int, patient: dict[str, str]) -> None:
        change = self._changes[patient["id"], patient["etag"]]
        if watcher in change.seen_by:
            raise StreamError("SEEN_TWICE")
        change.seen_by.add(watcher)
        if len(change.seen_by) == self._number:
            change.seen_by_all.set()


def _require_ok(status: str) -> None:
    if status != OK:
        raise LoadError(f"Cannot start the load: {status}.")


def _new_patient() -> Json:
    return {
        "name": "Ana Silva",
        "email": f"{uuid4()}@load.test",
        "address": "1 High Street",
        "dateOfBirth": "1980-02-29",
        "phone": "+351 21 000 000",
        "sex": "SEX_FEMALE",
    }


def _mix_calls() -> Iterator[str]:
    """Yields the names of the mixed calls in a fixed shuffled order, repeated forever."""
    calls = [name for name, times in _MIX.items() for _ in range(times)]
    Random(0).shuffle(calls)  # noqa: S311 - an order, no secret
    return cycle(calls)
