"""Tables of patients in CSV: their columns, and how their rows are read and written."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO, TypeVar

import yaml

from pulsetrack.errors import FieldViolation
from pulsetrack.patient.v1.patient_pb2 import Patient, Sex
from pulsetrack.records import OUTPUT_ONLY, FileError, InvalidRecord, Record, read_lines

_TEXTS = ("name", "email", "address", "date_of_birth", "registered_date", "phone", "medical_record_number")
FIELDS: Final = (*_TEXTS, "sex", "restricted")
"""The fields that a table contains."""
_SEPARATORS = (",", ";", "\t")
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")

Choice = TypeVar("Choice")
Columns = Mapping[str, str | None]
"""The field of a column, by its header. None if the column is not read."""


def _fold(header: str) -> str:
    return "".join(filter(str.isalnum, header.casefold()))


_ALIASES: Final = {"mrn": "medical_record_number", "dob": "date_of_birth", "birthdate": "date_of_birth"}
_KNOWN: Final[Columns] = (
    {_fold(field): field for field in (*FIELDS, "delete_time")} | _ALIASES | dict.fromkeys(map(_fold, OUTPUT_ONLY))
)
"""The fields by header, without case and punctuation: `Date of birth` and `dateOfBirth` are the same."""


def read_mapping(path: Path) -> Columns:
    """Returns the content of a YAML file such as `{Nachname: name, Notiz: }`. Raises FileError."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise FileError(f"{path}: must map headers to fields, a line each, such as `Nachname: name`.")
    for header, field in content.items():
        if not isinstance(header, str) or field not in (*FIELDS, None):
            raise FileError(f"{path}: {header}: {field}: the field must be empty or one of: {', '.join(FIELDS)}.")
    return content


def read_csv(text: TextIO, mapping: Columns) -> Iterator[Record]:
    """Yields the records of a table whose first row is the header. Raises FileError."""
    lines = read_lines(text)
    header = next(lines, "")
    separator = max(_SEPARATORS, key=lambda each: len(next(csv.reader([header], delimiter=each), [])))
    fields = _find_fields(next(csv.reader([header], delimiter=separator), []), mapping)
    rows = csv.reader(lines, delimiter=separator, strict=True)
    first = 2  # after the header
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise FileError(f"The row that begins in line {first} cannot be read: {error}.") from None
        if cells is None:
            return
        if any(cells):
            yield _read_row(first, cells, fields)
        first = rows.line_num + 2


def write_csv(text: TextIO, *, guard: bool = False) -> Callable[[Patient], object]:
    """Writes the header of a table. Returns the function that writes a row.

    With `guard`, an apostrophe precedes values that a spreadsheet would evaluate as a formula.
    """
    writer = csv.writer(text)
    writer.writerow(("id", *FIELDS))

    def protect(value: str) -> str:
        return f"'{value}" if guard and value.startswith(_FORMULAS) else value

    def write(patient: Patient) -> object:
        texts = (getattr(patient, field) for field in _TEXTS)
        sex = Sex.Name(patient.sex).removeprefix("SEX_").lower() if patient.sex else ""
        row = (patient.id, *texts, sex, "true" if patient.restricted else "")
        return writer.writerow(map(protect, row))

    return write


def _find_fields(header: Sequence[str], mapping: Columns) -> list[str | None]:
    if unused := mapping.keys() - set(header):
        raise FileError(f"The mapping names columns that the file does not have: {', '.join(sorted(unused))}.")
    if unknown := [each for each in header if each not in mapping and _fold(each) not in _KNOWN]:
        raise FileError(f"Unknown columns: {', '.join(map(repr, unknown))}. Map them to a field or to nothing.")
    fields = [mapping[each] if each in mapping else _KNOWN[_fold(each)] for each in header]
    if repeated := {field for field in fields if field and fields.count(field) > 1}:
        raise FileError(f"Several columns are mapped to: {', '.join(sorted(repeated))}.")
    return fields


def _read_row(line: int, cells: Sequence[str], fields: Sequence[str | None]) -> Record:
    if len(cells) != len(fields):
        description = f"has {len(cells)} cells, but the header has {len(fields)}"
        return Record(line, cells, violation=FieldViolation("", description))
    content = {field: cell for field, cell in zip(fields, cells, strict=True) if field and cell.strip()}
    try:
        return Record(line, content, _read_patient(content))
    except InvalidRecord as error:
        return Record(line, content, violation=error.violation)


def _read_patient(content: Mapping[str, str]) -> Patient:
    if "delete_time" in content:
        raise InvalidRecord("delete_time", "must be empty: deleted patients are not imported")
    patient = Patient()
    for field in _TEXTS:
        setattr(patient, field, content.get(field, ""))
    if (sex := content.get("sex")) is not None:
        patient.sex = _read_choice("sex", f"SEX_{sex.strip().upper().removeprefix('SEX_')}", dict(Sex.items()))
    if (restricted := content.get("restricted")) is not None:
        patient.restricted = _read_choice("restricted", restricted.strip().lower(), {"true": True, "false": False})
    return patient


def _read_choice(field: str, value: str, choices: Mapping[str, Choice]) -> Choice:
    if value not in choices:
        names = ", ".join(each.removeprefix("SEX_").lower() for each in choices)
        raise InvalidRecord(field, f"must be one of: {names}")
    return choices[value]
