"""Benchmarks, on a copy of PulseTrack of their own: `make bench`.

CPU is what the operating system has charged to each process for the calls of a case, divided by their number. The
caller's own share is not in it.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from rich.console import Console
from rich.table import Table

from deploy.settings import HOST
from tools.instance import Instance, run_instance

_CONNECTIONS = 32
_MEASURED = ("gateway", "patient", "postgres")

Result = dict[str, str | int | float]
Call = Callable[[], Any]


class Client:
    """Calls by REST with the least that Python needs for it, so that the caller takes little from the servers."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._headers = {"content-type": "application/json"}
        self._of_thread = threading.local()

    def authorize(self, token: str) -> None:
        """Sends the token with every call from now on."""
        self._headers["authorization"] = f"Bearer {token}"

    def call(self, verb: str, path: str, body: object = None) -> Any:
        """Makes a call on the connection of the calling thread, and returns the answer's JSON. Raises RuntimeError."""
        if not hasattr(self._of_thread, "connection"):
            self._of_thread.connection = HTTPConnection(HOST, self._port, timeout=20)
        connection: HTTPConnection = self._of_thread.connection
        connection.request(verb, path, json.dumps(body) if body else None, self._headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:  # noqa: PLR2004
            raise RuntimeError(f"{verb} {path}: {answer.status} {content.decode()}")
        return json.loads(content)


def main() -> None:
    """Runs every case and prints a table, and writes JSON if it is asked to."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="how many calls of each case are measured")
    parser.add_argument("--json", type=Path, help="a file to write the results to")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        run_instance(Path(folder) / "data", PULSETRACK_RATE_LIMITS="off") as copy,
    ):
        results = _run(copy, options.calls)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    cpu = (f"{name} CPU µs" for name in _MEASURED)
    table = Table("case", "calls", *cpu, "p50 ms", "p99 ms", "calls/s", title=f"Per call, {_CONNECTIONS} at a time")
    for result in results:
        table.add_row(*map(str, result.values()))
    Console(width=100).print(table)


def _run(copy: Instance, calls: int) -> list[Result]:
    client = Client(copy.port)
    credentials = {"email": "admin@pulsetrack.local", "password": copy.admin_password}
    client.authorize(client.call("POST", "/v1/auth/login", credentials)["accessToken"])
    patients = [client.call("POST", "/v1/patients", _patient())["id"] for _ in range(100)]
    cases: dict[str, tuple[int, Call]] = {
        "REST get": (calls, lambda: client.call("GET", f"/v1/patients/{patients[0]}")),
        "REST list of 50": (calls // 5, lambda: client.call("GET", "/v1/patients")),
        "REST create": (calls // 5, lambda: client.call("POST", "/v1/patients", _patient())),
    }
    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        return [{"case": name, **_measured(copy, threads, *case)} for name, case in cases.items()]


def _measured(copy: Instance, threads: ThreadPoolExecutor, calls: int, call: Call) -> Result:
    _load(threads, calls // 10, call)
    before, start = _cpu_seconds(copy), time.perf_counter()
    times = sorted(_load(threads, calls, call))
    seconds, after = time.perf_counter() - start, _cpu_seconds(copy)
    return {
        "calls": calls,
        **{f"{name}_cpu_us": round((after[name] - before[name]) / calls * 1e6) for name in _MEASURED},
        "p50_ms": round(times[calls // 2] * 1000, 1),
        "p99_ms": round(times[calls * 99 // 100] * 1000, 1),
        "calls_per_second": round(calls / seconds),
    }


def _load(threads: ThreadPoolExecutor, calls: int, call: Call) -> list[float]:
    """Makes the calls, some at a time, and returns how long each took, in seconds."""

    def timed(_: int) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return list(threads.map(timed, range(calls)))


def _cpu_seconds(copy: Instance) -> dict[str, float]:
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
