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
_MODE = "create: refuse records that would change a patient (default); upsert: change the patient"
_MODES = {"create": "IMPORT_MODE_CREATE_ONLY", "upsert": "IMPORT_MODE_UPSERT"}
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
    with open_text(path, arguments.encoding) as text, _open_private(report) as refused, _show(path) as show:
        work = Import(refused, lambda counts: show(counts, text.buffer.tell()))
        records = read_csv(text, mapping) if _is_table(path) else read_ndjson(text)
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
        write = write_csv(text, guard=arguments.guard_formulas) if _is_table(path) else write_ndjson(text)
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
    importing.add_argument(
        "file", type=_readable, help="CSV if its name ends in .csv, otherwise a JSON object per line"
    )
    importing.add_argument("--mapping", type=_readable, help="a YAML file that maps headers of a CSV file to fields")
    importing.add_argument("--encoding", choices=ENCODINGS, default=ENCODINGS[0], help="default: %(default)s")
    importing.add_argument("--mode", choices=_MODES, default="create", help=_MODE)
    importing.add_argument("--dry-run", action="store_true", help="only read the file")
    exporting = add("export", export_file, "Export all patients to a file")
    exporting.add_argument("file", type=Path, help="CSV if its name ends in .csv, otherwise a JSON object per line")
    exporting.add_argument("--guard-formulas", action="store_true", help=_GUARD)


def create_send(patients: Patients, mode: ImportMode.ValueType) -> Send:
    """Returns the function that imports a batch. It divides a batch for which a busy server needs too long."""

    async def send(records: Sequence[Record]) -> Sequence[Result]:
        batch = [record.patient for record in records if record.patient]
        try:
            return [_read_result(each) for each in await patients.import_batch(batch, mode, timeout=_TIMEOUT)]
        except DeadlineExceeded as error:
            if error.reason != "CALL_TOO_SLOW" or len(records) == 1:
                raise
        half = len(records) // 2
        return [*await send(records[:half]), *await send(records[half:])]

    return send


def _read_result(result: ImportResult) -> Result:
    outcome = ImportOutcome.Name(result.outcome).removeprefix("IMPORT_OUTCOME_").lower()
    return Result(outcome, result.reason, [FieldViolation(each.field, each.description) for each in result.violations])


async def _check(records: Sequence[Record]) -> Sequence[Result]:
    return [Result("readable")] * len(records)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _readable(name: str) -> Path:
    if not Path(name).is_file():
        raise argparse.ArgumentTypeError(f"not a file: {name}")
    return Path(name)


def _open_private(path: Path) -> TextIO:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    return path.open("w", encoding="utf-8", newline="")


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
