"""Output of the command-line tool: tables, or a JSON object per line."""

import json
import sys
from collections.abc import Iterable, Mapping

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pulsetrack.analytics.v1.analytics_pb2 import PatientStatistics
from pulsetrack.patient.v1.patient_pb2 import Patient, RevisionType, Sex, WatchPatientsResponse

_NUMBERS = ("Registrations", "Updates", "Deletions", "Patients", "Count")
_WIDTH = 200
"""The width of tables that are not printed to a terminal."""


def print_json(message: Message) -> None:
    """Prints a message as JSON, as the REST API does, in one line."""
    content = MessageToDict(message, always_print_fields_with_no_presence=True)
    print(json.dumps(content, ensure_ascii=False), flush=True)


def print_patients(patients: Iterable[Patient]) -> None:
    """Prints patients as a table."""
    rows = ((each.id, each.name, each.email, each.date_of_birth, each.phone) for each in patients)
    _print_table(("ID", "Name", "Email", "Born", "Phone"), rows)


def print_patient(patient: Patient) -> None:
    """Prints the fields of a patient as a table."""
    fields = MessageToDict(patient, preserving_proto_field_name=True)
    _print_table(("Field", "Value"), ((name, str(value)) for name, value in fields.items()))


def print_change(change: WatchPatientsResponse) -> None:
    """Prints a change of a patient as a line."""
    revision = change.revision
    kind = RevisionType.Name(revision.type).removeprefix("REVISION_TYPE_").lower()
    time = revision.occur_time.ToJsonString()
    print(f"{time}  {kind:9}  {revision.patient.id}  {revision.patient.name}", flush=True)


def print_statistics(statistics: PatientStatistics) -> None:
    """Prints statistics as tables."""
    buckets = (
        (each.start_time.ToJsonString()[:10], str(each.registrations), str(each.updates), str(each.deletions))
        for each in statistics.buckets
    )
    _print_table(("From", "Registrations", "Updates", "Deletions"), buckets)
    sexes = ((Sex.Name(each.sex).removeprefix("SEX_").lower(), str(each.count)) for each in statistics.sexes)
    _print_table(("Sex", "Patients"), sexes)
    totals = (("patients", str(statistics.total_patients)), ("deleted", str(statistics.total_deleted)))
    _print_table(("Total", "Count"), totals)


def print_counts(counts: Mapping[str, int]) -> None:
    """Prints numbers of patients as a table."""
    _print_table(("Patients", "Count"), ((name, str(count)) for name, count in sorted(counts.items())))


def _print_table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in _NUMBERS else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # a Text is not interpreted as markup
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)
