"""The commands `import` and `export` of the command-line tool."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pulsetrack.credentials import connect_stored
from pulsetrack.errors import DeadlineExceeded, FieldViolation
from pulsetrack.imports import REFUSED, Import, Result, Send
from pulsetrack.output import print_counts
from pulsetrack.patient.v1.patient_pb2 import ImportMode, ImportOutcome, ImportResult
from pulsetrack.patients import Patients
from pulsetrack.records import Record, check_encoding, open_text, read_ndjson, write_ndjson
from pulsetrack.tables import read_csv, read_mapping, write_csv

ENCODINGS = ("utf-8", "windows-1252")
_GUARD = "begin values that a spreadsheet would evaluate as formulas with an apostrophe, which changes them"
_CONCURRENCY = "calls at a time: more are faster, and slow down other users more (default: %(default)s)"
_MODE = "create: refuse records that would change a patient (default); upsert: change the patient"
_MODES = {"create": "IMPORT_MODE_CREATE_ONLY", "upsert": "IMPORT_MODE_UPSERT"}
_FORMATS = ("csv", "ndjson", "fhir")
_FORMAT = "default: csv if the name ends in .csv; fhir if the first line is a FHIR resource; or ndjson"
_MAX_BYTES = 3 << 20
"""The size of a batch. The server accepts messages of 4 MiB."""
_TIMEOUT = 120
"""Seconds in which a batch is repeated, for example while a service restarts."""

Command = Callable[[argparse.Namespace], Coroutine[None, None, None]]
Show = Callable[[Counter[str], int], None]


async def import_file(arguments: argparse.Namespace) -> None:
    """Imports the patients of a file, and reports the refused records. Exits with 1 if there are any."""
    path: Path = arguments.file
    report = path.with_name(f"{path.name}.refused.ndjson")
    mapping = read_mapping(arguments.mapping) if arguments.mapping else {}
    check_encoding(path, arguments.encoding)
    kind = arguments.format or _detect_format(path, arguments.encoding)
    with open_text(path, arguments.encoding) as text, _open_private(report) as refused, _show(path) as show:
        work = Import(refused, lambda counts: show(counts, text.buffer.tell()), concurrency=arguments.concurrency)
        records = read_csv(text, mapping) if kind == "csv" else read_ndjson(text, fhir=kind == "fhir")
        if arguments.dry_run:
            await work.run(records, _check)
        else:
            async with connect_stored() as client:
                await work.run(records, create_send(client.patients, ImportMode.Value(_MODES[arguments.mode])))
    print_counts(work.counts)
    if not work.counts[REFUSED]:
        report.unlink()
    else:
        sys.exit(f"{report} contains the refused records and the reasons.")


async def export_file(arguments: argparse.Namespace) -> None:
    """Exports all patients to a file, which appears when it is complete."""
    path: Path = arguments.file
    part = path.with_name(f"{path.name}.part")
    counts = Counter[str]()
    with _open_private(part) as text, _show() as show:
        is_table = (arguments.format or _format_by_name(path)) == "csv"
        write = write_csv(text, guard=arguments.guard_formulas) if is_table else write_ndjson(text)
        async with connect_stored() as client, aclosing(client.patients.export()) as patients:
            async for patient in patients:
                write(patient)
                counts["exported"] += 1
                show(counts, 0)
    part.replace(path)
    print_counts(counts)


def add_commands(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    """Adds the commands to the parser."""
    importing = add("import", import_file, "Import patients from a file")
    importing.add_argument("file", type=_readable, help="a file of patients")
    importing.add_argument("--format", choices=_FORMATS, help=_FORMAT)
    importing.add_argument("--mapping", type=_readable, help="a YAML file that maps headers of a CSV file to fields")
    importing.add_argument("--encoding", choices=ENCODINGS, default=ENCODINGS[0], help="default: %(default)s")
    importing.add_argument("--mode", choices=_MODES, default="create", help=_MODE)
    importing.add_argument("--concurrency", type=int, choices=range(1, 9), default=2, metavar="1-8", help=_CONCURRENCY)
    importing.add_argument("--dry-run", action="store_true", help="only read the file")
    exporting = add("export", export_file, "Export all patients to a file")
    exporting.add_argument("file", type=Path, help="a new file")
    exporting.add_argument("--format", choices=_FORMATS[:2], help="default: csv if the name ends in .csv, or ndjson")
    exporting.add_argument("--guard-formulas", action="store_true", help=_GUARD)


def create_send(patients: Patients, mode: ImportMode.ValueType) -> Send:
    """Returns the function that imports a batch. It divides one that is too large or takes a busy server too long."""

    async def send(records: Sequence[Record]) -> Sequence[Result]:
        if len(records) == 1 or sum(record.size for record in records) <= _MAX_BYTES:
            try:
                return [_read_result(each) for each in await call(records)]
            except DeadlineExceeded as error:
                if error.reason != "CALL_TOO_SLOW" or len(records) == 1:
                    raise
        half = len(records) // 2
        return [*await send(records[:half]), *await send(records[half:])]

    async def call(records: Sequence[Record]) -> Sequence[ImportResult]:
        if lines := [record.resource for record in records if record.resource]:
            return await patients.import_resources(lines, mode, timeout=_TIMEOUT)
        batch = [record.patient for record in records if record.patient]
        return await patients.import_batch(batch, mode, timeout=_TIMEOUT)

    return send


def _read_result(result: ImportResult) -> Result:
    outcome = ImportOutcome.Name(result.outcome).removeprefix("IMPORT_OUTCOME_").lower()
    return Result(outcome, result.reason, [FieldViolation(each.field, each.description) for each in result.violations])


async def _check(records: Sequence[Record]) -> Sequence[Result]:
    return [Result("readable")] * len(records)


def _format_by_name(path: Path) -> str:
    return "csv" if path.suffix.lower() == ".csv" else "ndjson"


def _detect_format(path: Path, encoding: str) -> str:
    if (found := _format_by_name(path)) == "csv":
        return found
    with open_text(path, encoding) as text:
        first = next(read_ndjson(text, fhir=True), None)
    return "fhir" if first and isinstance(first.content, dict) and "resourceType" in first.content else found


def _readable(name: str) -> Path:
    if not Path(name).is_file():
        raise argparse.ArgumentTypeError(f"not a file: {name}")
    return Path(name)


def _open_private(path: Path) -> TextIO:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    # A surrogate, which a refused record can contain, is written as its escape in JSON.
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


@contextmanager
def _show(path: Path | None = None) -> Iterator[Show]:
    """Yields a function that shows how many records there are by outcome, and how much of a file has been read."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=path.stat().st_size if path else None)
        started = time.monotonic()

        def show(counts: Counter[str], completed: int) -> None:
            rate = counts.total() / (time.monotonic() - started)
            words = [f"{count:,} {outcome}" for outcome, count in sorted(counts.items())]
            progress.update(task, completed=completed, description=f"{', '.join(words)} ({rate:,.0f}/s)")

        yield show
