"""The import of records: batches of which several are in flight, and a report of the refused ones."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TextIO

from pulsetrack.errors import FieldViolation
from pulsetrack.records import Record

_BATCH_SIZE = 100
"""A larger batch is hardly faster, and delays other calls to the service for longer."""

REFUSED = "refused"


@dataclass(frozen=True)
class Result:
    """What became of a record."""

    outcome: str
    """`created`, `updated`, `same` or `refused`."""
    reason: str = ""
    """The stable reason of a refusal."""
    violations: Sequence[FieldViolation] = ()


Send = Callable[[Sequence[Record]], Awaitable[Sequence[Result]]]
"""Imports a batch, and returns a result per record. It can be repeated without an effect."""


class Import:
    """Imports the records of a file. Their number does not change the memory that it takes.

    An import that was interrupted is run again from the start: the keys of the records identify the patients that it
    has created.
    """

    def __init__(self, report: TextIO, show: Callable[[Counter[str]], None], *, concurrency: int) -> None:
        """Takes the number of batches that are sent at a time."""
        self.counts = Counter[str]()
        """The number of records by outcome."""
        self._report = report
        self._show = show
        self._concurrency = concurrency

    async def run(self, records: Iterator[Record], send: Send) -> None:
        """Imports all records. Raises FileError, and PulseTrackError if a batch fails after its last attempt."""
        batches = iter(lambda: list(islice(records, _BATCH_SIZE)), [])
        tasks = [asyncio.create_task(self._import(batches, send)) for _ in range(self._concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _import(self, batches: Iterator[list[Record]], send: Send) -> None:
        for batch in batches:  # of all tasks: each batch is taken once
            for record in batch:
                if record.violation:
                    self._add(record, Result(REFUSED, "RECORD_UNREADABLE", [record.violation]))
            readable = [record for record in batch if not record.violation]
            results = await send(readable) if readable else ()
            for record, result in zip(readable, results, strict=True):
                self._add(record, result)
            self._report.flush()
            self._show(self.counts)

    def _add(self, record: Record, result: Result) -> None:
        self.counts[result.outcome] += 1
        if result.outcome == REFUSED:
            line = {
                "line": record.line,
                "key": record.key,
                "reason": result.reason,
                "violations": [asdict(each) for each in result.violations],
                "record": record.content,
            }
            self._report.write(json.dumps(line, ensure_ascii=False) + "\n")
