"""Access events: who read or wrote which patients, by which call, and how it ended.

A change of a patient writes its event in its own transaction. All others wait in memory and are written together, so
that no read waits for its event. They are lost if the process is killed, but not if it is stopped.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from asyncpg import Record, UniqueViolationError
from uuid_utils.compat import uuid7

from gen.pulsetrack.patient.v1 import AccessEvent
from services.common import telemetry
from services.common.db import Database, Transaction
from services.common.errors import DependencyUnavailable
from services.common.interceptors import caller_of_call
from services.common.retry import persistently
from services.patient.models import ACCESS_COLUMNS, INSERT_ACCESS_EVENT, access_events

MOST_WAITING = 10_000
"""How many events wait at most. While as many do, no call is let in: what cannot be recorded is not done."""

_MANY = 500
_WRITE_SECONDS = 0.5
_STOP_SECONDS = 1.5
_OK = "OK"

_log = logging.getLogger(__name__)


class Access:
    """A call under way, as its event will tell of it."""

    __slots__ = ("_method", "_remote_address", "patient_ids", "recorded")

    def __init__(self, method: str, remote_address: str) -> None:
        self._method = method
        self._remote_address = remote_address
        self.patient_ids: list[UUID] = []
        """Those that the call has read, as far as it is known."""
        self.recorded = False
        """Whether a change has written the event."""

    def event(self, outcome: str, patient_ids: list[UUID]) -> tuple[Any, ...]:
        """Returns the values of an event that occurs now, in the order of ACCESS_COLUMNS."""
        caller = caller_of_call.get()
        return (
            uuid7(),
            patient_ids,
            caller.id if caller else "",
            self._method,
            outcome,
            datetime.now(UTC),
            telemetry.request_id.get(),
            self._remote_address,
        )


access_of_call: ContextVar[Access] = ContextVar("access")
"""The call under way."""


def has_read(patient_ids: Iterable[UUID]) -> None:
    """Says that the call under way answers with these patients."""
    access_of_call.get().patient_ids.extend(patient_ids)


async def record_change(tx: Transaction, patient_id: UUID) -> None:
    """Writes the event of the call under way, in the transaction in which it changes a patient."""
    access = access_of_call.get()
    values = access.event(_OK, [patient_id])
    await tx.run(INSERT_ACCESS_EVENT, **dict(zip(ACCESS_COLUMNS, values, strict=True)))

    def recorded() -> None:
        access.recorded = True

    tx.after_commit(recorded)


def access_event_of(row: Record, patient_id: str) -> AccessEvent:
    """Returns what an event says about one of its patients."""
    return AccessEvent(
        id=str(row["id"]),
        patient_id=patient_id,
        actor_id=row["actor_id"],
        method=row["method"],
        outcome=row["outcome"],
        occur_time=row["occur_time"],
        request_id=row["request_id"],
        remote_address=row["remote_address"],
    )


class Accesses:
    """Writes the events of calls that change nothing: at the latest after half a second, and all of them at the end."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: list[tuple[Any, ...]] = []
        self._batch: list[tuple[Any, ...]] = []
        self._woken = asyncio.Event()
        self._ending = False
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        self._woken.set()
        try:
            await asyncio.wait_for(self._task, _STOP_SECONDS)
        except TimeoutError:
            _log.error("%d access events are lost: the database does not answer", self._count())

    def admit(self) -> None:
        """Returns if a call's event can be kept. Raises DependencyUnavailable."""
        if self._count() >= MOST_WAITING:
            raise DependencyUnavailable

    def record(self, outcome: str, patient_ids: list[UUID]) -> None:
        """Keeps the event of the call under way."""
        self._waiting.append(access_of_call.get().event(outcome, patient_ids))
        if len(self._waiting) >= _MANY:
            self._woken.set()

    def read(self, patient_ids: list[UUID]) -> None:
        """Keeps an event of patients that a call which goes on has answered with: a stream."""
        self.record(_OK, patient_ids)

    def _count(self) -> int:
        return len(self._waiting) + len(self._batch)

    async def _run(self) -> None:
        while self._count() or not self._ending:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _WRITE_SECONDS)
            self._woken.clear()
            try:
                await persistently(self._write, what="writing access events")
            except Exception:  # noqa: BLE001 - a fault of ours must not end the task: the events are kept
                _log.exception("writing access events failed")

    async def _write(self) -> None:
        """Writes what waits. A batch stays the same until it is written."""
        if not self._batch:
            self._batch, self._waiting = self._waiting, []
        if self._batch:
            with suppress(UniqueViolationError):  # it is there, all of it: only the answer got lost
                await self._db.copy(access_events.name, ACCESS_COLUMNS, self._batch)
        self._batch = []
