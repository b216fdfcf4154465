"""Watching patients: a process reads the journal of revisions once for all its watchers.

A watcher's only state is its journal position: no queue grows behind a slow watcher. Recent changes are cached for all
watchers. A watcher that is further behind reads the journal in pages until it has caught up.

A change of a restricted patient is sent only to watchers to whom the patient is visible at that moment. Restricting a
patient is a change too, so the reader learns of it in order, and also withholds the earlier changes that are cached.
"""

import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import NamedTuple
from uuid import UUID

from asyncpg import Record

from gen.pulsetrack.patient.v1 import RevisionType, WatchPatientsResponse
from services.common.background import BackgroundTask
from services.common.context import current_viewer
from services.common.errors import DependencyUnavailable, ValueRejected
from services.common.messaging.outbox import Outbox
from services.common.postgres import cursor
from services.common.postgres.database import Database
from services.common.postgres.journal import JournalPosition, position_of
from services.common.protobuf import codec
from services.common.protobuf.encoded import Encoded, MessageField
from services.patient.changes import encode_revision
from services.patient.errors import ResumeTokenInvalid
from services.patient.models import FIND_RESTRICTED, PATIENT_EXISTS, REVISIONS_JOURNAL

HEARTBEAT_SECONDS = 15.0

_MAX_CACHED = 1000
_PAGE = 100
_CONCURRENT_CATCH_UPS = 2
_POLL_SECONDS = 0.25
_TOKEN_PURPOSE = b"the changes of patients"
_RESPONSE_CODEC = codec.codec_of(WatchPatientsResponse)
_REVISION = MessageField(WatchPatientsResponse, "revision")


class Change(NamedTuple):
    """A change as watchers receive it, and its position in the journal. A heartbeat is a change of no patient."""

    position: JournalPosition
    patient_id: UUID | None
    response: Encoded[WatchPatientsResponse]
    is_restricted: bool = False
    """Whether the patient was restricted when the change was read."""
    is_erasure: bool = False


class ChangeFeed:
    """Streams the changes of patients.

    While there are watchers, the journal is read after each commit of this process, and at a fixed interval for the
    commits of other processes.
    """

    def __init__(self, db: Database, outbox: Outbox, *, resume_key: bytes, heartbeat_seconds: float) -> None:
        """Takes the secret key that authenticates resume tokens. A forged token could stream changes of any time."""
        self._db = db
        self._token_key = _TOKEN_PURPOSE + resume_key
        self._heartbeat_seconds = heartbeat_seconds
        self._watchers = 0
        self._recent: RecentChanges
        self._reader: BackgroundTask
        self._catch_ups = asyncio.Semaphore(_CONCURRENT_CATCH_UPS)
        outbox.on_commit(self._wake_reader)

    async def watch(self, token: str) -> AsyncGenerator[Change, None]:
        """Yields a heartbeat first, then changes as they are committed, and heartbeats while there are none.

        Starts after the change of a resume token, or now if the token is empty. Omits the changes of patients that are
        not visible to the current caller. Raises ResumeTokenInvalid.
        """
        position = await self._find_start(token)
        yield self._heartbeat(position)
        heartbeat_due = time.monotonic() + self._heartbeat_seconds
        async with self._subscribe() as recent:
            while True:
                advanced = recent.advanced  # taken before reading: changes that arrive in between set it
                changes = await self._read_after(position, recent)
                for change in changes:
                    if await self._is_visible(change, recent):
                        yield change
                        heartbeat_due = time.monotonic() + self._heartbeat_seconds
                    position = change.position
                seconds = heartbeat_due - time.monotonic()
                if seconds <= 0 or (not changes and not await _wait(advanced, seconds)):
                    yield self._heartbeat(position)
                    heartbeat_due = time.monotonic() + self._heartbeat_seconds

    async def _find_start(self, token: str) -> JournalPosition:
        if not token:
            return await REVISIONS_JOURNAL.find_end(self._db)
        try:
            position: JournalPosition = cursor.decode(token, self._token_key, JournalPosition)
            exists = await REVISIONS_JOURNAL.contains(self._db, position)
        except (cursor.InvalidCursorError, ValueRejected):
            raise ResumeTokenInvalid from None
        if not exists:
            raise ResumeTokenInvalid
        return position

    async def _read_after(self, position: JournalPosition, recent: "RecentChanges") -> Sequence[Change]:
        """Returns the next changes after a position, none while the database is unavailable."""
        if (changes := recent.after(position)) is not None:
            return changes
        with suppress(DependencyUnavailable):
            async with self._catch_ups:  # leaves connections to other calls
                return await self._read_page(position)
        return ()

    async def _is_visible(self, change: Change, recent: "RecentChanges") -> bool:
        """Returns whether the patient of a change is visible to the current caller. Raises DependencyUnavailable."""
        if current_viewer() is None or not (change.is_restricted or change.patient_id in recent.restricted):
            return True
        async with self._catch_ups:
            return await self._db.row(PATIENT_EXISTS, id=change.patient_id) is not None

    async def _read_page(self, position: JournalPosition) -> Sequence[Change]:
        rows = await REVISIONS_JOURNAL.read_after(self._db, position, limit=_PAGE)
        if not rows:
            return ()
        found = await self._db.rows(FIND_RESTRICTED, ids=[row["patient_id"] for row in rows])
        restricted = {row["id"] for row in found}
        return [self._to_change(row)._replace(is_restricted=row["patient_id"] in restricted) for row in rows]

    def _to_change(self, row: Record) -> Change:
        change = self._build_change(position_of(row), row["patient_id"], _REVISION.encode(encode_revision(row)))
        return change._replace(is_erasure=row["type"] == RevisionType.ERASED)

    def _heartbeat(self, position: JournalPosition) -> Change:
        return self._build_change(position, None, b"")

    def _build_change(self, position: JournalPosition, patient_id: UUID | None, revision: bytes) -> Change:
        token = WatchPatientsResponse(resume_token=cursor.encode(position, self._token_key))
        return Change(position, patient_id, Encoded(revision + _RESPONSE_CODEC.dumps(token)))

    @asynccontextmanager
    async def _subscribe(self) -> AsyncIterator["RecentChanges"]:
        """Yields the recent changes. A background task reads them while there is a subscriber."""
        if not self._watchers:
            self._recent = RecentChanges()
            read = partial(self._read_round, self._recent)
            self._reader = BackgroundTask(read, activity="watching patients", interval=_POLL_SECONDS)
            self._reader.start()
        self._watchers += 1
        try:
            yield self._recent
        finally:
            self._watchers -= 1
            if not self._watchers:
                await self._reader.stop()

    def _wake_reader(self) -> None:
        if self._watchers:
            self._reader.wake()

    async def _read_round(self, recent: "RecentChanges") -> bool:
        """Reads new changes, and returns whether there were any."""
        if recent.end is None:
            recent.begin(await REVISIONS_JOURNAL.find_end(self._db))
            return True
        changes = await self._read_page(recent.end)
        recent.add(changes)
        return bool(changes)


class RecentChanges:
    """The most recent changes: a section of the journal without gaps, up to the last change that was read."""

    def __init__(self) -> None:
        self.advanced = asyncio.Event()
        """Set when the end moves, and then replaced by a new event."""
        self.end: JournalPosition | None = None
        self.restricted: set[UUID | None] = set()
        """The patients with changes in this section that were restricted when the last of these was read."""
        self._start: JournalPosition
        self._changes: list[Change] = []

    def begin(self, position: JournalPosition) -> None:
        """Starts the section at a position."""
        self._start = self.end = position
        self._notify()

    def add(self, changes: Sequence[Change]) -> None:
        """Appends the changes that follow the end, and drops the oldest half when there are too many.

        Drops all after an erasure, because they may contain earlier changes of the patient.
        """
        if not changes:
            return
        self._changes += changes
        self.end = changes[-1].position
        self.restricted -= {change.patient_id for change in changes}
        self.restricted |= {change.patient_id for change in changes if change.is_restricted}
        erases = any(change.is_erasure for change in changes)
        if erases or len(self._changes) > _MAX_CACHED:
            count = len(self._changes) - (0 if erases else _MAX_CACHED // 2)
            self._start = self._changes[count - 1].position
            del self._changes[:count]
            self.restricted &= {change.patient_id for change in self._changes}
        self._notify()

    def after(self, position: JournalPosition) -> Sequence[Change] | None:
        """Returns the changes that follow a position, or None if the section begins after it."""
        if self.end is None or position < self._start:
            return None
        return self._changes[bisect_right(self._changes, position, key=lambda change: change.position) :]

    def _notify(self) -> None:
        self.advanced.set()
        self.advanced = asyncio.Event()


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Waits for an event for at most some seconds, and returns whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
