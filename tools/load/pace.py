"""When calls begin."""

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol, Self

from tools.load.record import Call, Record


class Pace(Protocol):
    """Makes the calls of a phase."""

    @property
    def count(self) -> int:
        """How many calls it makes."""

    async def drive(self, call: Call, record: Record) -> None:
        """Makes them all, and returns when the last has ended."""


@dataclass(frozen=True)
class Arrivals:
    """Calls begin at a rate, however long those before them take: an open loop.

    What a call takes counts from when it should begin: a gateway that stands still is charged with all the calls that
    come meanwhile.
    """

    per_second: float
    count: int

    @classmethod
    def during(cls, seconds: float, per_second: float) -> Self:
        """Returns as many as arrive in some seconds, one at least."""
        return cls(per_second, max(1, round(per_second * seconds)))

    def __str__(self) -> str:
        return f"{self.per_second:g}/s"

    async def drive(self, call: Call, record: Record) -> None:
        """Makes them all, and returns when the last has ended."""
        start = time.perf_counter()
        async with asyncio.TaskGroup() as calls:
            for number in range(self.count):
                due = start + number / self.per_second
                await asyncio.sleep(max(0, due - time.perf_counter()))
                calls.create_task(record.timed(call, due))


@dataclass(frozen=True)
class InFlight:
    """So many callers make one call after the other: a closed loop, which asks less of a gateway that is slow."""

    callers: int
    count: int

    def __str__(self) -> str:
        return f"{self.callers} in flight"

    async def drive(self, call: Call, record: Record) -> None:
        """Makes them all, and returns when the last has ended."""
        numbers = iter(range(self.count))

        async def caller() -> None:
            for _ in numbers:
                await record.timed(call, time.perf_counter())

        async with asyncio.TaskGroup() as callers:
            for _ in range(self.callers):
                callers.create_task(caller())
