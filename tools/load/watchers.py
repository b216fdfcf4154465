"""Streams on which people watch what others change."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Self

from tools.load.clinic import Clinic
from tools.load.doors import Door, StreamError
from tools.load.errors import LoadError
from tools.load.record import OK, Outcome

_SECONDS = 10
"""How long a stream may take to open, and a change to be seen."""


@dataclass
class _Change:
    """A change of a patient."""

    seen_by: set[int] = field(default_factory=set)
    by_all: asyncio.Event = field(default_factory=asyncio.Event)


class Watchers:
    """Holds streams open while changes are made, each of which all should see once."""

    def __init__(self, clinic: Clinic, door: Door, number: int) -> None:
        self._clinic = clinic
        self._door = door
        self._number = number
        self._changes: dict[tuple[str, str], _Change] = defaultdict(_Change)
        self._broken: list[str] = []

    async def __aenter__(self) -> Self:
        """Opens the streams. Raises LoadError if they do not open."""
        opened = asyncio.Barrier(self._number + 1)
        self._tasks = [asyncio.create_task(self._watch(watcher, opened)) for watcher in range(self._number)]
        try:
            await asyncio.wait_for(opened.wait(), _SECONDS)
        except TimeoutError:
            await self.__aexit__()
            raise LoadError(f"Not all of the {self._number} streams opened: {self._broken or 'no answer'}.") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hangs up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def change(self) -> Outcome:
        """Changes a patient, and waits until all have seen it."""
        answer = await self._clinic.change(self._clinic.patient())
        if answer.status != OK:
            return "UpdatePatient", answer.status
        patient = answer.json()
        change = self._changes[patient["id"], patient["etag"]]
        try:
            await asyncio.wait_for(change.by_all.wait(), _SECONDS)
        except TimeoutError:
            unseen = f"UNSEEN by {self._number - len(change.seen_by)}"
            return "WatchPatients", self._broken[0] if self._broken else unseen
        return "WatchPatients", OK

    async def _watch(self, watcher: int, opened: asyncio.Barrier) -> None:
        try:
            answers = self._door.stream("WatchPatients", {})
            await anext(answers)
            await opened.wait()
            async for answer in answers:
                if "revision" in answer:
                    self._see(watcher, answer["revision"]["patient"])
            self._broken.append("STREAM_ENDED")
        except StreamError as error:
            self._broken.append(str(error))

    def _see(self, watcher: int, patient: dict[str, str]) -> None:
        change = self._changes[patient["id"], patient["etag"]]
        if watcher in change.seen_by:
            raise StreamError("SEEN_TWICE")
        change.seen_by.add(watcher)
        if len(change.seen_by) == self._number:
            change.by_all.set()
