"""Watching patients: their revisions, read from the journal once for all who watch.

Who watches is a place in the journal, and nothing else: no queue grows behind a slow one. The latest changes are kept
for all; who is further behind reads the journal page by page until he has caught up.
"""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import NamedTuple

from asyncpg import Record

from gen.pulsetrack.patient.v1 import WatchPatientsResponse
from services.common.errors import DependencyUnavailable, ValueRejected
from services.common.messaging.outbox import Outbox
from services.common.postgres import cursor
from services.common.postgres.database import Database
from services.common.postgres.journal import Place, place_of
from services.common.retry import persistently
from services.patient.errors import ResumeTokenInvalid
from services.patient.models import REVISIONS_JOURNAL
from services.patient.revisions import revision_of

HEARTBEAT_SECONDS = 15.0

_KEPT = 1000
_PAGE = 100
_READERS = 2
_IDLE_SECONDS = 0.25
_TOKENS = b"the changes of patients"
_log = logging.getLogger(__name__)


class Change(NamedTuple):
    """A change, as all who watch are told of it, and the place behind it."""

    place: Place
    answer: WatchPatientsResponse


class Changes:
    """The changes of patients. They are read while somebody watches: when this process has made one, and regularly."""

    def __init__(self, db: Database, outbox: Outbox, *, resume_key: bytes, heartbeat_seconds: float) -> None:
        """Takes the secret key that authenticates resume tokens: a forged one would stream changes of any time."""
        self._db = db
        self._tokens = _TOKENS + resume_key
        self._heartbeat_seconds = heartbeat_seconds
        self._watchers = 0
        self._latest: Latest
        self._reading: asyncio.Task[None]
        self._readers = asyncio.Semaphore(_READERS)
        self._committed = asyncio.Event()
        outbox.wakes(self._committed.set)

    async def watch(self, token: str) -> AsyncGenerator[WatchPatientsResponse, None]:
        """Yields where it begins, which is now or behind a token, then each change and heartbeats, without an end.

        Raises ResumeTokenInvalid.
        """
        place = await self._begin(token)
        yield self._heartbeat(place)
        with self._watching() as latest:
            while True:
                moved = latest.moved  # before the look at what there is, so that nothing comes in between
                changes = await self._after(place, latest)
                for change in changes:
                    yield change.answer
                    place = change.place
                if not changes and not await _set_within(self._heartbeat_seconds, moved):
                    yield self._heartbeat(place)

    async def _begin(self, token: str) -> Place:
        if not token:
            return await REVISIONS_JOURNAL.end(self._db)
        try:
            place: Place = cursor.value(token, self._tokens, Place)
            known = await REVISIONS_JOURNAL.has(self._db, place)
        except (cursor.WrongTokenError, ValueRejected):
            raise ResumeTokenInvalid from None
        if not known:
            raise ResumeTokenInvalid
        return place

    async def _after(self, place: Place, latest: "Latest") -> Sequence[Change]:
        """Returns changes that follow a place. None during an outage of the database: who watches waits."""
        if (changes := latest.after(place)) is not None:
            return changes
        with suppress(DependencyUnavailable):
            async with self._readers:  # the connections are for all calls
                return await self._page(place)
        return ()

    async def _page(self, place: Place) -> Sequence[Change]:
        return [self._change(row) for row in await REVISIONS_JOURNAL.after(self._db, place, limit=_PAGE)]

    def _change(self, row: Record) -> Change:
        place = place_of(row)
        return Change(place, WatchPatientsResponse(revision=revision_of(row), resume_token=self._token(place)))

    def _heartbeat(self, place: Place) -> WatchPatientsResponse:
        return WatchPatientsResponse(resume_token=self._token(place))

    def _token(self, place: Place) -> str:
        return cursor.token(place, self._tokens)

    @contextmanager
    def _watching(self) -> Iterator["Latest"]:
        if not self._watchers:
            self._latest = Latest()
            self._reading = asyncio.create_task(self._read(self._latest), context=Context())  # of no call
        self._watchers += 1
        try:
            yield self._latest
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._reading.cancel()

    async def _read(self, latest: "Latest") -> None:
        while True:
            self._committed.clear()
            try:
                changed = await persistently(lambda: self._round(latest), what="watching patients")
            except Exception:  # noqa: BLE001 - a fault of ours must not leave who watches without changes for good
                _log.exception("watching patients failed")
                changed = False
            if not changed:
                await _set_within(_IDLE_SECONDS, self._committed)

    async def _round(self, latest: "Latest") -> bool:
        """Reads what is new. Returns whether there was anything."""
        if latest.end is None:
            latest.begin(await REVISIONS_JOURNAL.end(self._db))
            return True
        changes = await self._page(latest.end)
        latest.add(changes)
        return bool(changes)


class Latest:
    """The latest changes: a part of the journal without gaps, whose end moves."""

    def __init__(self) -> None:
        self.moved = asyncio.Event()
        """Set when the end moves, and then another."""
        self.end: Place | None = None
        self._start: Place
        self._changes: list[Change] = []

    def begin(self, place: Place) -> None:
        """Begins at a place."""
        self._start = self.end = place
        self._tell()

    def add(self, changes: Sequence[Change]) -> None:
        """Adds the changes that follow its end, and forgets the oldest when there are too many."""
        if not changes:
            return
        self._changes += changes
        self.end = changes[-1].place
        if len(self._changes) > _KEPT:
            oldest = self._changes[: -_KEPT // 2]
            self._start = oldest[-1].place
            del self._changes[: len(oldest)]
        self._tell()

    def after(self, place: Place) -> Sequence[Change] | None:
        """Returns the changes that follow a place. None if it is too far back for them to be all."""
        if self.end is None or place < self._start:
            return None
        return self._changes[bisect_right(self._changes, place, key=lambda change: change.place) :]

    def _tell(self) -> None:
        self.moved.set()
        self.moved = asyncio.Event()


async def _set_within(seconds: float, event: asyncio.Event) -> bool:
    """Waits for an event, and returns whether it came in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
