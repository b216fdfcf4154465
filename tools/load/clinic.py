"""What people do with PulseTrack, on users and patients made up for it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count, cycle
from random import Random
from uuid import uuid4

from tools.load.doors import Answer, Door, Json
from tools.load.errors import LoadError
from tools.load.record import OK, Call, Outcome

_PAGE = 50
_PATIENTS = 50
_SOON = 2.0

_DAY = {"get": 60, "list_page": 20, "create": 10, "update": 10}
"""Of a hundred calls in a clinic's day, how many are which."""


class Clinic:
    """Makes calls at a door, each for another person or patient than the one before."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._accounts: list[Json] = []
        self._patients: list[str] = []
        self._turns = count()
        self._day = _calls_of_a_day()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Signs up and logs in somebody who makes the calls, whose session is renewed until the end, and patients.

        Raises LoadError if that is refused.
        """
        _expect(await self._sign_up())
        lifetime = await self._authorize()
        while len(self._patients) < _PATIENTS:
            _, status = await self.create()
            _expect(status)
        renewal = asyncio.create_task(self._renew(lifetime))
        try:
            yield
        finally:
            renewal.cancel()

    async def sign_up(self) -> Outcome:
        """Signs up somebody new."""
        return "SignUp", await self._sign_up()

    async def log_in(self) -> Outcome:
        """Logs in one of those who have signed up."""
        credentials = self._accounts[next(self._turns) % len(self._accounts)]
        return "Login", (await self._door.call("Login", credentials)).status

    async def create(self) -> Outcome:
        """Creates a patient."""
        answer = await self._door.call("CreatePatient", {"patient": _patient()})
        if answer.status == OK:
            self._patients.append(answer.json()["id"])
        return "CreatePatient", answer.status

    async def get(self) -> Outcome:
        """Gets a patient."""
        return "GetPatient", (await self._door.call("GetPatient", {"id": self.patient()})).status

    async def list_page(self) -> Outcome:
        """Lists the newest patients."""
        return "ListPatients", (await self._door.call("ListPatients", {"pageSize": _PAGE})).status

    async def update(self) -> Outcome:
        """Gives a patient another phone."""
        return "UpdatePatient", (await self.change(self.patient())).status

    async def change(self, patient: str) -> Answer:
        """Gives this patient another phone."""
        return await self._door.call(
            "UpdatePatient", {"patient": {"id": patient, "phone": f"+351 {next(self._turns):09}"}}
        )

    async def day(self) -> Outcome:
        """Makes the next call of a clinic's day."""
        call: Call = getattr(self, next(self._day))
        return await call()

    def patient(self) -> str:
        """Returns the id of the next patient in turn."""
        return self._patients[next(self._turns) % len(self._patients)]

    async def _sign_up(self) -> str:
        name = f"load-{uuid4()}"
        credentials = {"email": f"{name}@load.test", "password": secrets.token_urlsafe()}
        answer = await self._door.call("SignUp", {**credentials, "username": name})
        if answer.status == OK:
            self._accounts.append(credentials)
        return answer.status

    async def _authorize(self) -> float:
        """Gets a new access token, and returns for how many seconds it is good."""
        answer = await self._door.call("Login", self._accounts[0])
        _expect(answer.status)
        tokens = answer.json()
        self._door.token = tokens["accessToken"]
        return float(tokens["expiresIn"])

    async def _renew(self, lifetime: float) -> None:
        while True:
            await asyncio.sleep(lifetime / 2)
            try:
                lifetime = await self._authorize()
            except LoadError:
                lifetime = _SOON


def _expect(status: str) -> None:
    if status != OK:
        raise LoadError(f"The load cannot begin: {status}.")


def _patient() -> Json:
    return {
        "name": "Ana Silva",
        "email": f"{uuid4()}@load.test",
        "address": "1 High Street",
        "dateOfBirth": "1980-02-29",
        "phone": "+351 21 000 000",
        "sex": "SEX_FEMALE",
    }


def _calls_of_a_day() -> Iterator[str]:
    """Yields the calls of a day mixed, in the same order on every day."""
    calls = [name for name, times in _DAY.items() for _ in range(times)]
    Random(0).shuffle(calls)  # noqa: S311 - an order, no secret
    return cycle(calls)
