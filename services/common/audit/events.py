"""Access events: the actor, subjects, method and outcome of each call that reads or changes personal data.

The subjects are the patients or users whose data a call concerns. A change writes its event in its own transaction.
Other events are buffered in memory and written in batches, so reads do not wait for the database. Buffered events
survive a graceful shutdown, but not a crash.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from asyncpg import UniqueViolationError
from uuid_utils.compat import uuid7

from services.common.audit.tables import (
    EVENT_COLUMNS,
    AuditTables,
    build_groups,
    join_call,
    split_ids,
)
from services.common.background import BackgroundTask
from services.common.context import current_caller, current_request_id
from services.common.errors import DependencyUnavailable, RateLimited
from services.common.postgres.database import Database, Transaction

MAX_WAITING_EVENTS = 10_000
"""The size of the buffer. While it is full, calls are rejected, because they could not be recorded."""

_BATCH_SIZE = 500
_MAX_KNOWN_GROUPS = 10_000
_WRITE_SECONDS = 0.5
_STOP_SECONDS = 1.5
_BURST_SECONDS = 20
_MAX_CALLERS = 10_000
_OK = "OK"

_log = logging.getLogger(__name__)


class ReadRateExceeded(RateLimited):
    """Raised when a caller has read too many subjects in a short time."""

    def __init__(self, *, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class ReadRate:
    """Limits the number of subjects that each caller reads, and so the growth of the audit log.

    Callers may use up to 20 seconds of unused allowance at once.
    """

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes the number of subjects that a caller may read per second; 0 means no limit."""
        self._per_second = per_second
        self._clock = clock
        self._paid_until: dict[str, float] = {}

    def charge(self, caller_id: str, count: int) -> None:
        """Counts subjects that a caller is about to read. Raises ReadRateExceeded."""
        if not self._per_second:
            return
        now = self._clock()
        paid_until = max(self._paid_until.get(caller_id, now), now)
        if (ahead := paid_until - now) > _BURST_SECONDS:
            raise ReadRateExceeded(retry_after=math.ceil(ahead - _BURST_SECONDS))
        if len(self._paid_until) >= _MAX_CALLERS:
            self._paid_until = {each: until for each, until in self._paid_until.items() if until > now}
        self._paid_until[caller_id] = paid_until + count / self._per_second


class Access:
    """The current call, as its event describes it."""

    __slots__ = ("_method", "actor_id", "details", "is_recorded", "log", "remote_address", "request", "subject_ids")

    def __init__(self, log: "AccessLog", method: str, remote_address: str, request: bytes = b"") -> None:
        self.log = log
        self.request = request
        """The serialized request."""
        self._method = method
        self.remote_address = remote_address
        self.actor_id = ""
        """The user that a call without an access token was authenticated as."""
        self.subject_ids: list[UUID] = []
        """The subjects that the call has read so far."""
        self.details = ""
        """The query of a list, or what a handler adds, as JSON. Empty for most calls."""
        self.is_recorded = False
        """Whether a change has already written the event."""

    def build_event(self, outcome: str, subject_ids: list[UUID], details: str) -> tuple[Any, ...]:
        """Returns the values of an event, with the current time, in the order of EVENT_COLUMNS."""
        caller = current_caller.get()
        return (
            uuid7(),
            subject_ids,
            caller.id if caller else self.actor_id,
            join_call(self._method, details),
            outcome,
            datetime.now(UTC),
            current_request_id.get(),
            self.remote_address,
        )


current_access: ContextVar[Access] = ContextVar("access")
"""The current call."""


def record_read(subject_ids: Iterable[UUID]) -> None:
    """Adds subjects to the event of the current call, which reads or concerns them. Raises ReadRateExceeded."""
    access = current_access.get()
    ids = list(subject_ids)
    if caller := current_caller.get():
        access.log.rate.charge(caller.id, len(ids))
    access.subject_ids += ids


def record_change(tx: Transaction, subject_id: UUID, *, details: str = "") -> None:
    """Adds an event of the current call to the transaction that changes the subject's data. Details are JSON."""
    access = current_access.get()
    values = access.build_event(_OK, [subject_id], details)
    tx.add(access.log.tables.insert_event, **dict(zip(EVENT_COLUMNS, values, strict=True)))

    def mark_recorded() -> None:
        access.is_recorded = True

    tx.after_commit(mark_recorded)


def record_stream_read(subject_ids: list[UUID]) -> None:
    """Records an event for subjects whose data the current call, an open stream, has sent."""
    current_access.get().log.record(_OK, subject_ids)


def record_actor(user_id: UUID) -> None:
    """Sets the actor of the current call, which has no access token but was authenticated as a user."""
    current_access.get().actor_id = str(user_id)


class AccessLog:
    """Buffers the events of calls that change nothing. Writes them every half second and at shutdown."""

    def __init__(self, db: Database, tables: AuditTables, *, people_per_second: int = 0) -> None:
        """Takes the number of subjects that each caller may read per second; 0 means no limit."""
        self.tables = tables
        self.rate = ReadRate(people_per_second)
        self._db = db
        self._groups: dict[UUID, bytes] = {}
        self._known_groups: set[UUID] = set()
        self._waiting: list[tuple[Any, ...]] = []
        self._batch: list[tuple[Any, ...]] = []
        self._task = BackgroundTask(self._write, activity="writing access events", interval=_WRITE_SECONDS)

    async def __aenter__(self) -> Self:
        self._task.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if not await self._task.stop(grace_seconds=_STOP_SECONDS):
            _log.error("%d access events are lost because the database did not respond before shutdown", self._count())

    def check_capacity(self) -> None:
        """Raises DependencyUnavailable if the buffer is full."""
        if self._count() >= MAX_WAITING_EVENTS:
            raise DependencyUnavailable

    def record(self, outcome: str, subject_ids: list[UUID]) -> None:
        """Buffers the event of the current call."""
        if len(subject_ids) > 1:
            groups = build_groups(subject_ids)
            self._groups |= {
                group_id: joined for group_id, joined in groups.items() if group_id not in self._known_groups
            }
            subject_ids = list(groups)
        access = current_access.get()
        self._waiting.append(access.build_event(outcome, subject_ids, access.details))
        if len(self._waiting) >= _BATCH_SIZE:
            self._task.wake()

    def _count(self) -> int:
        return len(self._waiting) + len(self._batch)

    async def _write(self) -> bool:
        """Writes the buffered events as a batch. A retry writes the same batch.

        Returns True after a retry, because newer events may be waiting.
        """
        is_retry = bool(self._batch)
        if not is_retry:
            self._batch, self._waiting = self._waiting, []
        await self._write_groups()
        if self._batch:
            with suppress(UniqueViolationError):  # an earlier attempt wrote it, but its response was lost
                await self._db.copy(self.tables.events.name, self.tables.columns, self._batch)
        self._batch = []
        return is_retry

    async def _write_groups(self) -> None:
        """Writes the groups that buffered events refer to. Other processes may already have written some of them."""
        groups = dict(self._groups)
        if not groups:
            return
        async with self._db.begin() as tx:
            rows = [{"id": group_id, "subject_ids": split_ids(joined)} for group_id, joined in sorted(groups.items())]
            await tx.run_many(self.tables.insert_group, rows)
        for group_id in groups:
            self._groups.pop(group_id, None)
        if len(self._known_groups) > _MAX_KNOWN_GROUPS:
            self._known_groups.clear()
        self._known_groups |= groups.keys()
