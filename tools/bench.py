"""Benchmarks on a separate PulseTrack instance: `make bench`.

Reports the CPU time of each server process divided by the number of calls. The client's CPU time is not included.
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
    """A REST client with little overhead, because it shares the CPU with the servers."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._headers = {"content-type": "application/json"}
        self._of_thread = threading.local()

    def authorize(self, token: str) -> None:
        """Sends the token with all subsequent calls."""
        self._headers["authorization"] = f"Bearer {token}"

    def call(self, verb: str, path: str, body: object = None) -> Any:
        """Sends a request on the thread's connection and returns the JSON of the response. Raises RuntimeError."""
        if not hasattr(self._of_thread, "connection"):
            self._of_thread.connection = HTTPConnection(HOST, self._port, timeout=20)
        connection: HTTPConnection = self._of_thread.connection
        connection.request(verb, path, json.dumps(body) if body else None, self._headers)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:  # noqa: PLR2004
            raise RuntimeError(f"{verb} {path}: {response.status} {content.decode()}")
        return json.loads(content)


def main() -> None:
    """Runs all cases, prints a table, and optionally writes JSON."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="number of measured calls per case")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        run_instance(Path(folder) / "data", PULSETRACK_RATE_LIMITS="off") as instance,
    ):
        results = _run(instance, options.calls)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    cpu = (f"{name} CPU µs" for name in _MEASURED)
    table = Table("case", "calls", *cpu, "p50 ms", "p99 ms", "calls/s", title=f"Per call, {_CONNECTIONS} concurrent")
    for result in results:
        table.add_row(*map(str, result.values()))
    Console(width=100).print(table)


def _run(instance: Instance, calls: int) -> list[Result]:
    client = Client(instance.port)
    credentials = {"email": "admin@pulsetrack.local", "password": instance.admin_password}
    client.authorize(client.call("POST", "/v1/auth/login", credentials)["accessToken"])
    patients = [client.call("POST", "/v1/patients", _build_patient())["id"] for _ in range(100)]
    cases: dict[str, tuple[int, Call]] = {
        "REST get": (calls, lambda: client.call("GET", f"/v1/patients/{patients[0]}")),
        "REST list of 50": (calls // 5, lambda: client.call("GET", "/v1/patients")),
        "REST create": (calls // 5, lambda: client.call("POST", "/v1/patients", _build_patient())),
    }
    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        return [{"case": name, **_measure(instance, threads, *case)} for name, case in cases.items()]


def _measure(instance: Instance, threads: ThreadPoolExecutor, calls: int, call: Call) -> Result:
    _make_calls(threads, calls // 10, call)
    before, start = _read_cpu_seconds(instance), time.perf_counter()
    times = sorted(_make_calls(threads, calls, call))
    seconds, after = time.perf_counter() - start, _read_cpu_seconds(instance)
    return {
        "calls": calls,
        **{f"{name}_cpu_us": round((after[name] - before[name]) / calls * 1e6) for name in _MEASURED},
        "p50_ms": round(times[calls // 2] * 1000, 1),
        "p99_ms": round(times[calls * 99 // 100] * 1000, 1),
        "calls_per_second": round(calls / seconds),
    }


def _make_calls(threads: ThreadPoolExecutor, calls: int, call: Call) -> list[float]:
    """Makes the calls concurrently, and returns their durations in seconds."""

    def measure(_: int) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return list(threads.map(measure, range(calls)))


def _read_cpu_seconds(instance: Instance) -> dict[str, float]:
    processes = instance.state().processes
    return {name: _read_tree_seconds(psutil.Process(processes[name].pid)) for name in _MEASURED}


def _read_tree_seconds(process: psutil.Process) -> float:
    return sum(sum(p.cpu_times()[:2]) for p in (process, *process.children(recursive=True)))


def _build_patient() -> dict[str, str]:
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
