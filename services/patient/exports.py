"""ExportPatients: streams all patients of a snapshot. A resume token contains the place in it."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

from asyncpg import Record

from gen.pulsetrack.patient.v1 import ExportPatientsRequest, ExportPatientsResponse
from services.common.audit.events import record_stream_read
from services.common.errors import FieldsInvalid, ValueRejected
from services.common.periods import first_day
from services.common.postgres import cursor
from services.common.postgres.database import Database
from services.common.protobuf import codec
from services.common.protobuf.encoded import Encoded, MessageField
from services.patient.domain import PATIENT_CODEC
from services.patient.errors import ResumeTokenInvalid
from services.patient.listing import find_date_violations
from services.patient.models import REVISIONS_JOURNAL
from services.patient.snapshots import Place, SnapshotReader

READER = SnapshotReader(500)
_TOKEN_PURPOSE = b"an export of patients"
_REQUEST_CODEC = codec.codec_of(ExportPatientsRequest)
_RESPONSE_CODEC = codec.codec_of(ExportPatientsResponse)
_Patient = PATIENT_CODEC.message_class
_PATIENTS = MessageField(ExportPatientsResponse, "patients")


class ExportService:
    """Implements ExportPatients."""

    def __init__(self, db: Database, *, resume_key: bytes) -> None:
        """Takes the secret key that authenticates resume tokens. A forged token could export a state of any time."""
        self._db = db
        self._token_key = _TOKEN_PURPOSE + resume_key

    async def export_patients(
        self, request: ExportPatientsRequest
    ) -> AsyncGenerator[Encoded[ExportPatientsResponse], None]:
        """Yields all patients of a snapshot, in pages. The last page has no resume token.

        Raises FieldsInvalid, ResumeTokenInvalid, SnapshotPruned; DependencyUnavailable if a transaction prevents a
        snapshot.
        """
        if violations := find_date_violations(request):
            raise FieldsInvalid(violations)
        scope = self._token_key + _REQUEST_CODEC.dumps(replace(request, resume_token=""))
        following: Place | None = await self._find_start(request.resume_token, scope)
        while following:
            rows, following = await READER.read_page(self._db, following)
            selected = [row for row in rows if _is_selected(row["patient"], request)]
            yield _build_response(selected, cursor.encode(following, scope) if following else "")

    async def _find_start(self, token: str, scope: bytes) -> Place:
        if not token:
            return Place(await REVISIONS_JOURNAL.find_current_end(self._db))
        try:
            place: Place = cursor.decode(token, scope, Place)
            is_known = await REVISIONS_JOURNAL.contains(self._db, place.snapshot)
        except (cursor.InvalidCursorError, ValueRejected):
            raise ResumeTokenInvalid from None
        if not is_known:
            raise ResumeTokenInvalid
        return place


def _is_selected(state: bytes, request: ExportPatientsRequest) -> bool:
    """Returns whether a request selects a patient in this state. Compares dates as text: YYYY-MM-DD."""
    patient: Any = _Patient.FromString(state)
    born, registered = first_day(patient.date_of_birth), patient.registered_date
    return (
        (request.show_deleted or not patient.HasField("delete_time"))
        and (not request.sex or patient.sex == request.sex)
        and (not request.born_after or born > request.born_after)
        and (not request.born_before or born < request.born_before)
        and (not request.registered_after or registered > request.registered_after)
        and (not request.registered_before or registered < request.registered_before)
    )


def _build_response(rows: Sequence[Record], token: str) -> Encoded[ExportPatientsResponse]:
    if rows:
        record_stream_read([row["id"] for row in rows])
    encoded = b"".join(_PATIENTS.encode(row["patient"]) for row in rows)
    return Encoded(encoded + _RESPONSE_CODEC.dumps(ExportPatientsResponse(resume_token=token)))
