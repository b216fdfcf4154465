"""A system under measurement: its processes, and the state of its deliveries."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import asyncpg

from bench.errors import BenchError
from bench.processes import read_cpu_seconds, read_memory

_POLL_SECONDS = 0.05
_SETTLE_SECONDS = 30

UNCOUNTED = "broker"
"""The part that is not counted in totals: the embedded broker is a stand-in, and the same on both sides."""


@dataclass(frozen=True)
class Queries:
    """What the databases of a system say about its changes. Each query returns one number."""

    undelivered: str
    """Changes that were not delivered, in the database of patients."""
    changes: str
    """Changes so far, in the database of patients."""
    analyzed: str
    """Changes so far, in the database of analytics."""
    latencies: str
    """Milliseconds from each change to its analytics row, for the changes after a time."""


@dataclass
class System:
    """A running system. As a context manager, it is connected to its databases inside the block."""

    name: str
    pids: Mapping[str, int]
    """The processes by part."""
    patients_url: str
    analytics_url: str
    queries: Queries
    _connections: list["asyncpg.Connection[asyncpg.Record]"] = field(default_factory=list)
    _own_backends: set[int] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        for url in (self.patients_url, self.analytics_url):
            connection = await asyncpg.connect(url)
            self._connections.append(connection)
            self._own_backends.add(await connection.fetchval("SELECT pg_backend_pid()"))
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._connections:
            await connection.close()

    def read_cpu_seconds(self) -> dict[str, float]:
        """Returns the CPU time of each part, without the connections of the benchmark itself."""
        return read_cpu_seconds(self.pids, without=self._own_backends)

    def read_memory(self) -> dict[str, float]:
        """Returns the memory of each part in MiB."""
        return read_memory(self.pids)

    async def settle(self) -> None:
        """Waits until every change is delivered and analyzed. Raises BenchError if that takes too long."""
        limit = time.monotonic() + _SETTLE_SECONDS
        while not await self._is_settled():
            if time.monotonic() > limit:
                raise BenchError(f"{self.name} did not deliver all changes within {_SETTLE_SECONDS} s.")
            await asyncio.sleep(_POLL_SECONDS)

    async def read_event_latencies(self, since: float) -> list[float]:
        """Returns the milliseconds from each change since a time (seconds since the epoch) to its analytics row."""
        rows = await self._connections[1].fetch(self.queries.latencies, since)
        return [float(row[0]) for row in rows]

    async def _is_settled(self) -> bool:
        patients, analytics = self._connections
        if await patients.fetchval(self.queries.undelivered):
            return False
        return bool(await patients.fetchval(self.queries.changes) == await analytics.fetchval(self.queries.analyzed))
