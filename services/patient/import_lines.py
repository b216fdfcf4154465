"""Lines of files as records of imports."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from google.protobuf.json_format import Parse, ParseError

from gen.google.api import HttpBody
from gen.pulsetrack.patient.v1 import Patient
from services.common.errors import FieldsInvalid
from services.common.protobuf.contract import FHIR_LINES, LINES
from services.patient.domain import PATIENT_CODEC
from services.patient.fhir.mapping import read_patient
from services.patient.fhir.resources import parse_resource, to_stored

MAX_LINES = 500


class SentRecord(NamedTuple):
    """A record as it was sent."""

    patient: Patient
    resource: bytes | None = None
    """The FHIR resource to store with the patient."""


def read_lines(body: HttpBody | None) -> tuple[list[bytes], Callable[[bytes], SentRecord]]:
    """Returns the lines of a file, and the function that reads one, which raises FieldsInvalid.

    Raises FieldsInvalid for an unknown content type, and for too many lines or none.
    """
    body = body or HttpBody()
    if (read := _FORMATS.get(body.content_type.partition(";")[0].strip().lower())) is None:
        raise FieldsInvalid({"records.content_type": f"must be one of {', '.join(filter(None, _FORMATS))}"})
    lines = [line for line in body.data.split(b"\n") if line.strip()]
    if not 1 <= len(lines) <= MAX_LINES:
        raise FieldsInvalid({"records": f"must have 1 to {MAX_LINES} lines"})
    return lines, read


def _read_json(line: bytes) -> SentRecord:
    """Reads a patient in the JSON format of Protocol Buffers."""
    message = PATIENT_CODEC.message_class()
    try:
        Parse(line, message)
    except (ParseError, UnicodeDecodeError, RecursionError) as error:
        text = str(error).partition("\n")[0][:200]
        raise FieldsInvalid({"record": f"must be a JSON object with the fields of a patient: {text}"}) from None
    return SentRecord(PATIENT_CODEC.decode(message))


def _read_resource(line: bytes) -> SentRecord:
    """Reads a Patient resource of FHIR R4."""
    resource = parse_resource(HttpBody(data=line))
    return SentRecord(read_patient(resource), to_stored(resource))


_FORMATS: Mapping[str, Callable[[bytes], SentRecord]] = {
    "": _read_json,
    LINES: _read_json,
    FHIR_LINES: _read_resource,
}
"""The functions that read a line, by the content type of the file."""
