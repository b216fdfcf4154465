"""Benchmarks, on a copy of PulseTrack of their own: `make bench`.

CPU is what the operating system has charged to each process for the calls of a case, divided by their number. The
caller's own share is not in it.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from tools.copy import Copy, running

_CONNECTIONS = 8
_MEASURED = ("gateway", "patient", "postgres")

Call = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


def main() -> None:
    """Runs every case and prints a table, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="how many calls of each case are measured")
    parser.add_argument("--json", type=Path, help="a file to write the results to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "data") as copy:
        results = asyncio.run(_run(copy, options.calls))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    table = Table("case", "calls", *(f"{name} CPU µs" for name in _MEASURED), "p50 ms", "p99 ms", "calls/s")
    for result in results:
        table.add_row(*(str(value) for value in result.values()))
    Console().print(table)


async def _run(copy: Copy, calls: int) -> list[dict[str, str | int | float]]:
    async with httpx.AsyncClient(base_url=copy.url, limits=httpx.Limits(max_connections=_CONNECTIONS)) as client:
        credentials = {"email": "admin@pulsetrack.local", "password": copy.admin_password}
        login = await client.post("/v1/auth/login", json=credentials)
        client.headers["authorization"] = f"Bearer {login.json()['accessToken']}"
        first = [(await client.post("/v1/patients", json=_patient())).json()["id"] for _ in range(100)]
        cases: dict[str, tuple[int, Call]] = {
            "REST get": (calls, lambda c: c.get(f"/v1/patients/{first[0]}")),
            "REST list of 50": (calls // 5, lambda c: c.get("/v1/patients")),
            "REST create": (calls // 5, lambda c: c.post("/v1/patients", json=_patient())),
        }
        return [{"case": name, **await _measured(copy, client, *case)} for name, case in cases.items()]


async def _measured(copy: Copy, client: httpx.AsyncClient, calls: int, call: Call) -> dict[str, int | float]:
    await _load(client, calls // 10, call)
    before, start = _cpu_seconds(copy), time.perf_counter()
    times = sorted(await _load(client, calls, call))
    seconds, after = time.perf_counter() - start, _cpu_seconds(copy)
    return {
        "calls": calls,
        **{name: round((after[name] - before[name]) / calls * 1e6) for name in _MEASURED},
        "p50_ms": round(times[calls // 2] * 1000, 1),
        "p99_ms": round(times[calls * 99 // 100] * 1000, 1),
        "calls_per_second": round(calls / seconds),
    }


async def _load(client: httpx.AsyncClient, calls: int, call: Call) -> list[float]:
    """Makes the calls, some at a time, and returns how long each took, in seconds."""
    left = iter(range(calls))
    times: list[float] = []

    async def work() -> None:
        for _ in left:
            start = time.perf_counter()
            response = await call(client)
            times.append(time.perf_counter() - start)
            response.raise_for_status()

    await asyncio.gather(*(work() for _ in range(_CONNECTIONS)))
    return times


def _cpu_seconds(copy: Copy) -> dict[str, float]:
    processes = copy.state().processes
    return {name: _tree_seconds(psutil.Process(processes[name].pid)) for name in _MEASURED}


def _tree_seconds(process: psutil.Process) -> float:
    return sum(sum(p.cpu_times()[:2]) for p in (process, *process.children(recursive=True)))


def _patient() -> dict[str, str]:
    return {
        "name": "Ana Silva",
        "email": f"{uuid4()}@clinic.test",
        "address": "1 High Street",
        "dateOfBirth": "1980-02-29",
        "phone": "+351 21 000 000",
        "sex": "SEX_FEMALE",
    }


if __name__ == "__main__":
    main()
