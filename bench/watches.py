"""The fan-out of changes to watches."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from bench.cases import Variant, build_patient
from bench.errors import BenchError
from tools.load.clients import GrpcClient, StreamError, connect_grpc
from tools.load.measurement import percentile

_MICROSECONDS = 1_000_000
_MILLISECONDS = 1000
_WAIT_SECONDS = 30


@dataclass(frozen=True)
class FanOut:
    """Deliveries of changes to watches."""

    watches: int
    changes: int
    cpu_us: float
    """CPU time of the gateway and the patient service for each delivered change, including its share of the create."""
    p50_ms: float
    p99_ms: float
    """Milliseconds from the response of a create to the arrival of the change at a watch."""


class _Watches:
    """Open watches, and the times at which changes arrived."""

    def __init__(self, client: GrpcClient) -> None:
        self.opened = 0
        self.arrivals: dict[str, list[float]] = {}
        """The times of arrival by patient."""
        self.failures: list[str] = []
        self._client = client

    async def watch(self) -> None:
        """Receives changes until the task is cancelled."""
        is_first = True
        try:
            async for response in self._client.stream("WatchPatients", {}):
                self.opened, is_first = self.opened + is_first, False
                if patient := response.get("revision", {}).get("patient"):
                    self.arrivals.setdefault(patient["id"], []).append(time.perf_counter())
        except StreamError as error:
            self.failures.append(str(error))

    async def wait_until(self, is_done: Callable[[], bool]) -> None:
        """Waits for a condition. Raises BenchError if a watch fails, or if the condition stays false."""
        limit = time.monotonic() + _WAIT_SECONDS
        while not is_done():
            if self.failures:
                raise BenchError(f"{len(self.failures)} watches failed, such as: {self.failures[0]}")
            if time.monotonic() > limit:
                raise BenchError(f"{self.opened} watches did not receive all changes within {_WAIT_SECONDS} s.")
            await asyncio.sleep(0.02)

    def count_arrivals(self) -> int:
        """Returns the number of changes that arrived at all watches together."""
        return sum(map(len, self.arrivals.values()))


async def measure_fan_out(variant: Variant, url: str, token: str, *, watches: int, changes: int) -> FanOut:
    """Opens watches at the gateway, creates patients, and measures the deliveries. Raises BenchError."""
    deliveries = watches * changes
    async with connect_grpc(url) as client:
        client.token = token
        opened = _Watches(client)
        tasks = [asyncio.create_task(opened.watch()) for _ in range(watches)]
        try:
            await opened.wait_until(lambda: opened.opened == watches)
            before, created = variant.system.read_cpu_seconds(), {}
            for _ in range(changes):
                patient = await variant.api.create(build_patient(), str(uuid4()))
                created[patient["id"]] = time.perf_counter()
            await opened.wait_until(lambda: opened.count_arrivals() == deliveries)
            after = variant.system.read_cpu_seconds()
        finally:
            for task in tasks:
                task.cancel()
    latencies = sorted((at - created[each]) * _MILLISECONDS for each in created for at in opened.arrivals[each])
    cpu_us = sum(after[part] - before[part] for part in ("gateway", "patient")) / deliveries * _MICROSECONDS
    return FanOut(watches, changes, cpu_us, percentile(latencies, 50), percentile(latencies, 99))
