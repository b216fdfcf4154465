"""Records of patients that a program reads from a file, and their keys."""

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from pulsetrack.errors import FieldViolation
from pulsetrack.patient.v1.patient_pb2 import Patient

_CHUNK = 1 << 20
_MAX_LINE = 1 << 20
"""Characters of a line. A longer one is not a patient, and would take memory without a limit."""
OUTPUT_ONLY: Final = ("id", "etag", "create_time", "update_time")
"""Fields that an exported file contains and an import ignores."""


class FileError(Exception):
    """Raised when a file cannot be read as records. The message names the line."""


class InvalidRecord(Exception):
    """Raised when a record is not a patient. The records after it can be read."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(description)
        self.violation = FieldViolation(field, description)


@dataclass(frozen=True)
class Record:
    """A patient in a file, or why it is not one."""

    line: int
    """The number of its first line in the file."""
    content: object
    """What the file contains, for a report."""
    patient: Patient | None = None
    resource: bytes = b""
    """The line of the patient, if it is a FHIR resource: the server reads it."""
    violation: FieldViolation | None = None
    """Why the record is not a patient."""

    @property
    def key(self) -> str:
        """The value that identifies the patient in an import: the record number, or the email address without one.

        Only the server knows that of a FHIR resource. Its key is the id in the file.
        """
        if self.patient:
            return self.patient.medical_record_number or self.patient.email
        return str(self.content.get("id", "")) if isinstance(self.content, dict) and self.resource else ""

    @property
    def size(self) -> int:
        """The number of bytes that are sent."""
        return self.patient.ByteSize() if self.patient else len(self.resource)


def check_encoding(path: Path, encoding: str) -> None:
    """Reads a whole file. Raises FileError with the line of the first byte that is not in the encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                byte = f"0x{error.object[error.start]:02x}"
                hint = (
                    "" if encoding == "windows-1252" else " If the file is from Windows, use --encoding windows-1252."
                )
                raise FileError(f"Line {line}: the byte {byte} is not {encoding}.{hint}") from None
            if not chunk:
                return
            line += chunk.count(b"\n")


def open_text(path: Path, encoding: str) -> TextIO:
    """Opens a file without a conversion of its line breaks. A byte order mark is not part of the text."""
    return path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="")


def read_lines(text: TextIO) -> Iterator[str]:
    """Yields lines with their ends. Raises FileError at a line of more than a mebibyte."""
    number = 0
    while line := text.readline(_MAX_LINE):
        number += 1
        if len(line) == _MAX_LINE and not line.endswith("\n"):
            raise FileError(f"Line {number} is too long for a patient.")
        yield line


def read_ndjson(text: TextIO, *, fhir: bool = False) -> Iterator[Record]:
    """Yields the records of a file with a JSON object per line, as in ProtoJSON or FHIR. Raises FileError."""
    for number, line in enumerate(read_lines(text), 1):
        if line.strip():
            try:
                content = json.loads(line, object_pairs_hook=_read_pairs)
                patient = None if fhir else _read_object(content)
            except InvalidRecord as error:
                yield Record(number, line.strip(), violation=error.violation)
            except (ValueError, RecursionError, ParseError) as error:
                yield Record(number, line.strip(), violation=FieldViolation("", str(error)))
            else:
                yield Record(number, content, patient, line.strip().encode() if fhir else b"")


def write_ndjson(text: TextIO) -> Callable[[Patient], object]:
    """Returns the function that writes a line."""

    def write(patient: Patient) -> object:
        return text.write(json.dumps(MessageToDict(patient), ensure_ascii=False) + "\n")

    return write


def clean(patient: Patient) -> Patient:
    """Removes the fields that the server sets. Raises InvalidRecord for a deleted patient, which is not imported."""
    if patient.HasField("delete_time"):
        raise InvalidRecord("delete_time", "must not be set: deleted patients are not imported")
    for field in OUTPUT_ONLY:
        patient.ClearField(field)
    return patient


def _read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("A field occurs twice.")
    return found


def _read_object(content: object) -> Patient:
    if not isinstance(content, dict):
        raise InvalidRecord("", "must be a JSON object")
    return clean(ParseDict(content, Patient()))
