"""Measures imports and exports, and reads of a patient meanwhile: `python -m bench.imports [--count 20000]`.

Starts an instance of its own. Uses the client that `make import` installs. Prints a table in Markdown.
"""

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from bench.errors import BenchError
from bench.machine import describe_machine
from bench.ours import ADMIN, describe
from bench.processes import read_cpu_seconds
from tools.instance import Instance, run_instance
from tools.load.measurement import percentile
from tools.local.process import ROOT

_READS_PER_SECOND = 50
_PAUSE_SECONDS = 5
"""The time after each run, in which events are delivered."""
_HEADER = (
    "",
    "seconds",
    "patients per second",
    "reads: p50 / p99 ms",
    "CPU: tool / patient service / gateway / Postgres µs",
    "tool",
    "patient service",
    "gateway",
    "Postgres",
)
_MIB = 1 << 20
_PROGRAM = str(ROOT / "build" / "client" / "bin" / "pulsetrack")


class Case(NamedTuple):
    """A command of the tool."""

    name: str
    patients: int
    arguments: Sequence[str]


class Run(NamedTuple):
    """What was measured during a command."""

    patients: int
    seconds: float
    reads: Sequence[float]
    """Latencies in milliseconds."""
    cpu: Sequence[float]
    """CPU seconds of the tool, patient service, gateway and Postgres, including the pause after the run."""
    memory: Mapping[str, int]
    """The largest resident memory of the tool, and the PSS of the others at the end, in bytes."""


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.imports", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="patients of each file (20000)")
    options = parser.parse_args()
    machine = describe_machine()
    print(f"Revision {machine.revision} on {machine.date}, {machine.processor}, {machine.cores} cores.\n")
    print(_format_row(_HEADER), _format_row(["---"] * len(_HEADER)), sep="\n")
    with (
        tempfile.TemporaryDirectory() as folder,
        run_instance(Path(folder) / "data", PULSETRACK_RATE_LIMITS="off") as instance,
    ):
        variables = {
            "PULSETRACK_URL": instance.url,
            "PULSETRACK_EMAIL": ADMIN,
            "PULSETRACK_PASSWORD": instance.admin_password,
            "XDG_CONFIG_HOME": folder,
        }
        environment = {**os.environ, **variables}
        subprocess.run([_PROGRAM, "login"], env=environment, check=True, stdout=subprocess.DEVNULL)
        for case in _create_cases(Path(folder), options.count):
            print(_render(case.name, _run(instance, case, environment)), flush=True)


def _create_cases(folder: Path, count: int) -> Iterator[Case]:
    """Writes files of patients, and yields the commands in their order."""
    tables = [folder / f"patients-{number}.csv" for number in (1, 2, 4)]
    ndjson, fhir = folder / "patients.ndjson", folder / "patients.fhir.ndjson"
    yield Case("no import", 0, ())
    for number, table in enumerate(tables):
        _write_csv(table, range(number * count, (number + 1) * count))
        concurrency = table.stem[-1]
        yield Case(f"CSV, `--concurrency {concurrency}`", count, ("import", "--concurrency", concurrency, str(table)))
    _write_lines(ndjson, range(3 * count, 4 * count), _to_patient)
    yield Case("NDJSON", count, ("import", str(ndjson)))
    _write_lines(fhir, range(4 * count, 5 * count), _to_resource)
    yield Case("FHIR NDJSON", count, ("import", str(fhir)))
    yield Case("CSV again, all `same`", count, ("import", str(tables[0])))
    _write_lines(ndjson, range(3 * count, 4 * count), lambda each: _to_patient(each) | {"phone": "112"})
    yield Case("NDJSON, `--mode upsert`, all `updated`", count, ("import", "--mode", "upsert", str(ndjson)))
    yield Case("export of NDJSON", 5 * count, ("export", str(folder / "exported.ndjson")))


def _run(instance: Instance, case: Case, environment: Mapping[str, str]) -> Run:
    """Runs a command, and measures reads meanwhile. Raises BenchError if it fails."""
    parts = {part: describe(instance).pids[part] for part in ("patient", "gateway", "postgres")}
    before = _read_cpu_seconds(parts)
    command = [_PROGRAM, *case.arguments] if case.arguments else ["sleep", str(_PAUSE_SECONDS)]
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        reads, peak = asyncio.run(_read_meanwhile(instance, process))
        seconds = time.perf_counter() - start
    if process.returncode:
        raise BenchError(f"{case.name} failed.")
    memory = {part: _measure_memory(pid) for part, pid in parts.items()}
    time.sleep(_PAUSE_SECONDS)
    cpu = [after - earlier for after, earlier in zip(_read_cpu_seconds(parts), before, strict=True)]
    return Run(case.patients, seconds, reads, cpu, {"tool": peak, **memory})


async def _read_meanwhile(instance: Instance, process: "subprocess.Popen[bytes]") -> tuple[list[float], int]:
    """Reads a patient at a steady rate until a process ends. Returns the latencies, and its largest memory."""
    latencies: list[float] = []
    peak = 0
    async with httpx.AsyncClient(base_url=instance.url, timeout=60) as client:
        login = {"email": ADMIN, "password": instance.admin_password}
        token = (await client.post("/v1/auth/login", json=login)).raise_for_status().json()["accessToken"]
        client.headers["authorization"] = f"Bearer {token}"
        new = _to_patient(time.time_ns())
        path = f"/v1/patients/{(await client.post('/v1/patients', json=new)).raise_for_status().json()['id']}"

        async def read(scheduled: float) -> None:
            (await client.get(path)).raise_for_status()
            latencies.append((time.perf_counter() - scheduled) * 1000)

        start, tasks = time.perf_counter(), list[asyncio.Task[None]]()
        while process.poll() is None:
            scheduled = start + len(tasks) / _READS_PER_SECOND
            await asyncio.sleep(max(scheduled - time.perf_counter(), 0))
            tasks.append(asyncio.create_task(read(scheduled)))
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
        await asyncio.gather(*tasks)
    return latencies, peak


def _read_cpu_seconds(parts: Mapping[str, int]) -> list[float]:
    """Returns the CPU time of the commands that have ended, and of each part."""
    ended = psutil.Process().cpu_times()
    return [ended.children_user + ended.children_system, *read_cpu_seconds(parts).values()]


def _measure_memory(pid: int) -> int:
    """Returns the PSS of a process and of those that it started."""
    process, total = psutil.Process(pid), 0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # a process that has ended meanwhile
            total += each.memory_full_info().pss
    return total


def _to_patient(number: int) -> dict[str, Any]:
    return {
        "name": f"Ana Silva {number}",
        "email": f"ana.{number}@clinic.test",
        "address": f"{number} High Street\n4000 Porto",
        "date_of_birth": "1980-02-29",
        "phone": f"+351 {number % 10**9}",
        "sex": "SEX_FEMALE",
        "medical_record_number": f"MRN-{number:09}",
    }


def _to_resource(number: int) -> dict[str, Any]:
    patient = _to_patient(number)
    return {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:pulsetrack:medical-record-number", "value": patient["medical_record_number"]}],
        "name": [{"family": "Silva", "given": ["Ana", str(number)]}],
        "telecom": [{"system": system, "value": patient[system]} for system in ("email", "phone")],
        "gender": "female",
        "birthDate": patient["date_of_birth"],
        "address": [{"line": [f"{number} High Street"], "postalCode": "4000", "city": "Porto"}],
        "maritalStatus": {"text": "married"},
    }


def _write_lines(file: Path, numbers: range, convert: Callable[[int], object]) -> None:
    with file.open("w", encoding="utf-8") as text:
        text.writelines(f"{json.dumps(convert(number))}\n" for number in numbers)


def _write_csv(file: Path, numbers: range) -> None:
    with file.open("w", encoding="utf-8") as text:
        text.write(",".join(_to_patient(0)) + "\n")
        text.writelines(",".join(f'"{each}"' for each in _to_patient(number).values()) + "\n" for number in numbers)


def _render(name: str, run: Run) -> str:
    reads, count = sorted(run.reads), run.patients
    memory = [f"{value / _MIB:.0f} MB" for value in run.memory.values()]
    return _format_row(
        [
            name,
            f"{run.seconds:.0f}" if count else "",
            f"{count / run.seconds:,.0f}" if count else "",
            f"{percentile(reads, 50):.0f} / {percentile(reads, 99):.0f}",
            " / ".join(f"{seconds / count * 1e6:.0f}" for seconds in run.cpu) if count else "",
            *(memory if count else ["", *memory[1:]]),
        ]
    )


def _format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
