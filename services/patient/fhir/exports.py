"""The RPCs of bulk exports (https://hl7.org/fhir/uv/bulkdata/export.html).

An export is a row with a snapshot of all patients. Its files are not stored: a download reads the snapshot.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import UUID, uuid4

from asyncpg import Record
from sqlalchemy import DateTime, Uuid, bindparam, delete, func, insert, literal, not_, or_, select

from gen.google.api import HttpBody
from gen.google.protobuf import Empty
from gen.pulsetrack.patient.v1 import (
    DeleteFhirExportRequest,
    DownloadFhirExportRequest,
    GetFhirExportRequest,
    StartFhirExportRequest,
)
from services.common.audit.events import record_stream_read
from services.common.postgres.database import Database
from services.common.postgres.journal import position_of
from services.common.postgres.retention import OldRows
from services.common.postgres.statement import Statement
from services.common.protobuf.contract import FHIR_LINES
from services.patient.domain import PATIENT_CODEC
from services.patient.errors import FhirExportNotFound
from services.patient.fhir.mapping import Resource
from services.patient.fhir.parameters import invalid, is_not_supported, parse_parameters, record_query
from services.patient.fhir.resources import format_time, from_stored, to_body, to_json, to_resource
from services.patient.models import REVISIONS_JOURNAL, SEES_ALL, erasures, fhir_exports, revisions
from services.patient.snapshots import Place, SnapshotReader

PERIOD = timedelta(hours=24)
OLD_EXPORTS = OldRows(fhir_exports, fhir_exports.c.start_time, PERIOD)

PATIENTS, DELETED = "Patient.ndjson", "deleted.ndjson"
"""The files of an export."""

_MARGIN = timedelta(minutes=1)
"""More than a change takes from its update time, by the clock of its process, to its commit."""

_PAGE = 100
"""The number of patients that are read at once, and that an access event of a download has."""

_PART_BYTES = 256 * 1024
_WITHHELD_BYTES = len("}\n")
_BEGIN = datetime(1, 1, 1, tzinfo=UTC)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_FORMATS = (FHIR_LINES, "application/ndjson", "ndjson")

_since = bindparam("since", type_=DateTime(timezone=True))
_has_id = fhir_exports.c.id == bindparam("id", type_=Uuid)
_is_valid = fhir_exports.c.start_time > func.now() - literal(PERIOD)

INSERT_EXPORT = Statement(
    insert(fhir_exports).values({each.name: bindparam(each.name, type_=each.type) for each in fhir_exports.c})
)
GET_EXPORT = Statement(select(fhir_exports).where(_has_id, _is_valid))
DELETE_EXPORT = Statement(delete(fhir_exports).where(_has_id, _is_valid).returning(fhir_exports.c.id))
LIST_ERASED = Statement(
    select(erasures.c.patient_id)
    .where(erasures.c.execute_time >= _since, or_(not_(erasures.c.restricted), SEES_ALL))
    .order_by(erasures.c.patient_id)
)
READER = SnapshotReader(_PAGE, revisions.c.resource)


class FhirExportService:
    """Implements the methods of bulk exports."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def start_fhir_export(self, request: StartFhirExportRequest) -> HttpBody:
        """Starts an export.

        Raises FieldsInvalid; DependencyUnavailable if a transaction prevents a snapshot.
        """
        parse_since(request.parameters, lenient=request.lenient)
        record_query(request.parameters)
        export_id, now = uuid4(), datetime.now(UTC)
        snapshot = await REVISIONS_JOURNAL.find_current_end(self._db)
        async with self._db.begin() as tx:
            values = {"id": export_id, "start_time": now, "parameters": request.parameters, **snapshot._asdict()}
            await tx.run(INSERT_EXPORT, **values)
        details = {"text": "The export is complete. Its manifest names the files."}
        issue = {"severity": "information", "code": "informational", "details": details}
        return to_body({"resourceType": "OperationOutcome", "id": str(export_id), "issue": [issue]})

    async def get_fhir_export(self, request: GetFhirExportRequest) -> HttpBody:
        """Returns the manifest of an export.

        Raises FhirExportNotFound.
        """
        return to_body(_build_manifest(await self._find(request.export_id)), "application/json")

    async def delete_fhir_export(self, request: DeleteFhirExportRequest) -> Empty:
        """Deletes an export.

        Raises FhirExportNotFound.
        """
        async with self._db.begin() as tx:
            if not await tx.row(DELETE_EXPORT, id=request.export_id):
                raise FhirExportNotFound
        return Empty()

    async def download_fhir_export(self, request: DownloadFhirExportRequest) -> AsyncGenerator[HttpBody, None]:
        """Yields the parts of a file. All but the last end before the end of a line.

        If the stream fails, the file therefore ends with a line that is not valid JSON.

        Raises FhirExportNotFound, SnapshotPruned.
        """
        export, part = await self._find(request.export_id), bytearray()
        async with aclosing(self._read(export, is_deleted=request.file == DELETED)) as lines:
            async for line in lines:
                part += line
                if len(part) >= _PART_BYTES:
                    yield HttpBody(content_type=FHIR_LINES, data=bytes(part[:-_WITHHELD_BYTES]))
                    del part[:-_WITHHELD_BYTES]
        yield HttpBody(content_type=FHIR_LINES, data=bytes(part))

    async def _read(self, export: Record, *, is_deleted: bool) -> AsyncGenerator[bytes, None]:
        """Yields the lines of a file."""
        since = parse_since(export["parameters"], lenient=True) or _BEGIN
        if is_deleted:
            erased = [row["patient_id"] for row in await self._db.rows(LIST_ERASED, since=since)]
            for start in range(0, len(erased), _PAGE):
                ids = erased[start : start + _PAGE]
                record_stream_read(ids)
                for patient_id in ids:
                    yield _to_line(_to_deletion(patient_id))
        following: Place | None = Place(position_of(export))
        while following:
            rows, following = await READER.read_page(self._db, following)
            selected = [row for row in rows if _is_selected(row["patient"], since, is_deleted=is_deleted)]
            if selected:
                record_stream_read([row["id"] for row in selected])
            for row in selected:
                yield _to_line(_to_deletion(row["id"]) if is_deleted else _to_resource(row))

    async def _find(self, export_id: str) -> Record:
        if (row := await self._db.row(GET_EXPORT, id=export_id)) is None:
            raise FhirExportNotFound
        return row


def parse_since(query: str, *, lenient: bool) -> datetime | None:
    """Returns the time of `_since`, or None. Raises FieldsInvalid for an invalid or unsupported parameter.

    `lenient` ignores unsupported parameters and types.
    """
    since = None
    for name, text in parse_parameters(query):
        value = text.replace(" ", "+")  # clients do not always escape the plus of a time zone or of a content type
        if name == "_since":
            since = _parse_instant(value)
        elif name == "_outputFormat":
            if value not in _FORMATS:
                raise invalid(f"_outputFormat must be one of {', '.join(_FORMATS)}")
        elif name == "_type":
            types = value.split(",")
            if "Patient" not in types or not (lenient or {*types} == {"Patient"}):
                raise invalid("_type must be Patient")
        elif not lenient:
            raise is_not_supported(name)
    return since


def _parse_instant(text: str) -> datetime:
    if _INSTANT.fullmatch(text):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(text).astimezone(UTC)
    raise invalid("_since must be an instant such as 2026-01-31T12:00:00Z")


def _build_manifest(export: Record) -> Resource:
    """Returns the manifest of an export. Its links are relative to the base of the API."""
    query, start_time, url = export["parameters"], export["start_time"], f"exports/{export['id']}"
    deleted = [{"type": "Bundle", "url": f"{url}/{DELETED}"}]
    return {
        "transactionTime": format_time(start_time - _MARGIN),
        "request": "Patient/$export" + (f"?{query}" if query else ""),
        "requiresAccessToken": True,
        "output": [{"type": "Patient", "url": f"{url}/{PATIENTS}"}],
        "deleted": deleted if parse_since(query, lenient=True) else [],
        "error": [],
        "extension": {"expires": format_datetime(start_time + PERIOD, usegmt=True)},
    }


def _is_selected(state: bytes, since: datetime, *, is_deleted: bool) -> bool:
    """Returns whether a file contains a patient in this state."""
    patient: Any = PATIENT_CODEC.message_class.FromString(state)
    changed: datetime = patient.update_time.ToDatetime(UTC)
    return changed >= since and bool(patient.HasField("delete_time")) == is_deleted


def _to_resource(row: Record) -> Resource:
    return to_resource(PATIENT_CODEC.loads(row["patient"]), from_stored(row["resource"]))


def _to_deletion(patient_id: UUID) -> Resource:
    """Returns the Bundle that deletes a patient."""
    request = {"method": "DELETE", "url": f"Patient/{patient_id}"}
    return {"resourceType": "Bundle", "type": "transaction", "entry": [{"request": request}]}


def _to_line(resource: Resource) -> bytes:
    return to_json(resource) + b"\n"
