"""ExportPatients: streams all patients as they were at a position of the journal of revisions, the snapshot.

The state of a patient in the snapshot is its last revision up to the position. Revisions do not change, so each page is
read in a transaction of its own, and an interrupted export is resumed by the position and the last patient.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg import Record
from sqlalchemy import BigInteger, Uuid, bindparam, not_, select, true, tuple_

from gen.pulsetrack.patient.v1 import ExportPatientsRequest, ExportPatientsResponse
from services.common.audit.events import record_stream_read
from services.common.errors import FieldsInvalid, ValueRejected
from services.common.postgres import cursor
from services.common.postgres.database import Database
from services.common.postgres.guards import see_all
from services.common.postgres.journal import JournalPosition
from services.common.postgres.paging import constant
from services.common.postgres.statement import Statement
from services.common.protobuf import codec
from services.common.protobuf.encoded import Encoded, MessageField
from services.patient.domain import PATIENT_CODEC
from services.patient.errors import ResumeTokenInvalid, SnapshotPruned
from services.patient.listing import find_date_violations
from services.patient.models import REVISIONS_JOURNAL, VISIBLE_PATIENTS, patients, revisions

_PAGE = 500
_TOKEN_PURPOSE = b"an export of patients"
_REQUEST_CODEC = codec.codec_of(ExportPatientsRequest)
_RESPONSE_CODEC = codec.codec_of(ExportPatientsResponse)
_Patient = PATIENT_CODEC.message_class
_PATIENTS = MessageField(ExportPatientsResponse, "patients")

_page = (
    VISIBLE_PATIENTS.with_only_columns(patients.c.id)
    .where(patients.c.id > bindparam("after", type_=Uuid))
    .order_by(patients.c.id)
    .limit(constant(_PAGE))
    .subquery("page")
)
_end = tuple_(bindparam("transaction", type_=BigInteger), bindparam("position", type_=BigInteger))
# The revisions are those of visible patients.
_state = (
    see_all(select(revisions.c.patient))
    .where(revisions.c.patient_id == _page.c.id, tuple_(revisions.c.transaction, revisions.c.position) <= _end)
    .order_by(revisions.c.revision.desc())
    .limit(constant(1))
    .lateral("state")
)
_first = see_all(select(constant(1)).select_from(revisions)).where(
    revisions.c.patient_id == _page.c.id, revisions.c.revision == constant(1)
)
READ_PAGE = Statement(
    see_all(select(_page.c.id, _state.c.patient))
    .add_columns((_state.c.patient.is_(None) & not_(_first.exists())).label("is_pruned"))
    .select_from(_page.outerjoin(_state, true()))
    .order_by(_page.c.id)
)
"""Reads the next patients with their state in a snapshot. Patients that were created after it have none.

If a patient has neither a state nor its first revision, its state may have been pruned.
"""


class _Place(NamedTuple):
    """What a resume token contains."""

    snapshot: JournalPosition
    after: UUID
    """The last patient that was examined."""


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
        place = await self._find_start(request.resume_token, scope)
        has_more = True
        while has_more:
            rows = await self._db.rows(READ_PAGE, after=place.after, **place.snapshot._asdict())
            if any(row["is_pruned"] for row in rows):
                raise SnapshotPruned
            if has_more := len(rows) == _PAGE:
                place = place._replace(after=rows[-1]["id"])
            selected = [row for row in rows if row["patient"] and _is_selected(row["patient"], request)]
            yield _build_response(selected, cursor.encode(place, scope) if has_more else "")

    async def _find_start(self, token: str, scope: bytes) -> _Place:
        if not token:
            return _Place(await REVISIONS_JOURNAL.find_current_end(self._db), UUID(int=0))
        try:
            place: _Place = cursor.decode(token, scope, _Place)
            is_known = await REVISIONS_JOURNAL.contains(self._db, place.snapshot)
        except (cursor.InvalidCursorError, ValueRejected):
            raise ResumeTokenInvalid from None
        if not is_known:
            raise ResumeTokenInvalid
        return place


def _is_selected(state: bytes, request: ExportPatientsRequest) -> bool:
    """Returns whether a request selects a patient in this state. Compares dates as text: YYYY-MM-DD."""
    patient: Any = _Patient.FromString(state)
    born, registered = f"{patient.date_of_birth}-01-01"[:10], patient.registered_date
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
