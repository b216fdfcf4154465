"""Erasures of patients: the RPCs that schedule and list them, and the task that executes those that are due.

An erasure deletes the row of the patient, and leaves revisions without data. It waits until all events of the patient
are delivered, so that receivers get `PatientErased` last. A patient that is erased is deleted, unless the database was
restored from a backup that was made before: the task then deletes the patient first.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from asyncpg import Record
from sqlalchemy import (
    Boolean,
    DateTime,
    Interval,
    Text,
    Uuid,
    and_,
    bindparam,
    cast,
    delete,
    func,
    literal,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from gen.pulsetrack.patient.v1 import (
    ErasePatientRequest,
    ErasePatientResponse,
    Erasure,
    ErasureState,
    ListErasuresRequest,
    ListErasuresResponse,
    Patient,
    PatientDeleted,
    PatientErased,
)
from services.common.audit.events import Access, AccessLog, current_access, record_change, record_read
from services.common.background import BackgroundTask
from services.common.context import Caller, current_caller
from services.common.errors import FieldsInvalid
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Database, Transaction
from services.common.postgres.guards import see_all
from services.common.postgres.lookups import apply_last, is_found
from services.common.postgres.paging import Listing, constant
from services.common.postgres.statement import Statement
from services.common.text import find_violation
from services.patient.changes import record_patient_change
from services.patient.domain import PATIENT_CODEC, advance_row
from services.patient.errors import AlreadyMerged, PatientNotFound
from services.patient.merges import LOCK_MERGED
from services.patient.models import (
    GET_ANY_PATIENT_FOR_UPDATE,
    PATIENT,
    UPDATE_PATIENT,
    erasures,
    grants,
    outbox_rows,
    patients,
    responses,
)

_METHOD = "pulsetrack.patient.v1.PatientService/ErasePatient"
_INTERVAL_SECONDS = 10.0

_CLOCK_DIFFERENCE = timedelta(days=1)
"""More than the clocks of the services and of the database can differ."""

_patient_id = bindparam("patient_id", type_=Uuid)
_undelivered = see_all(select(constant(1))).where(
    outbox_rows.c.key == cast(patients.c.id, Text), apply_last(outbox_rows.c.delivered_time.is_(None))
)
_create_time = bindparam("create_time", type_=DateTime(timezone=True))
_clock_difference = literal(_CLOCK_DIFFERENCE, Interval)

_new = insert(erasures).values({name: bindparam(name) for name in ("patient_id", "reason", "actor_id", "erase_time")})
SCHEDULE_ERASURE = Statement(
    _new.on_conflict_do_update(
        index_elements=[erasures.c.patient_id], set_={"erase_time": erasures.c.erase_time}
    ).returning(erasures.c.erase_time)
)
"""Schedules an erasure, or returns the time of the one that is scheduled."""

_is_due = erasures.c.erase_time <= func.now()

# Sees all patients: no caller reads the row. Locks the erasure too: a concurrent UndeletePatient may be cancelling it.
FIND_NEXT = Statement(
    see_all(select(*PATIENT, erasures.c.actor_id))
    .join_from(erasures, patients, patients.c.id == erasures.c.patient_id)
    .where(
        erasures.c.execute_time.is_(None),
        or_(patients.c.delete_time.is_(None), and_(_is_due, not_(is_found(_undelivered)))),
    )
    .order_by(erasures.c.erase_time)
    .limit(constant(1))
    .with_for_update(of=[patients, erasures], skip_locked=True)
)
"""Finds the next patient to erase, one whose events are all delivered, or to delete, because it was restored."""

ERASE_REVISIONS = Statement(select(func.erase_revisions(_patient_id).label("erased")))

_first_bytes = func.substring(responses.c.answer, constant(1), constant(38))
_DELETIONS = (
    Statement(see_all(delete(patients)).where(patients.c.id == _patient_id)),
    Statement(delete(grants).where(grants.c.patient_id == _patient_id)),
    Statement(delete(outbox_rows).where(outbox_rows.c.key == cast(_patient_id, Text))),
    Statement(  # a response is stored when its patient is created, and begins with the id: field 1, with 36 bytes
        delete(responses).where(
            responses.c.create_time.between(_create_time - _clock_difference, _create_time + _clock_difference),
            _first_bytes == func.decode("0a24", "hex").concat(func.convert_to(cast(_patient_id, Text), "UTF8")),
        )
    ),
    Statement(
        update(erasures)
        .where(erasures.c.patient_id == _patient_id)
        .values(execute_time=func.now(), restricted=bindparam("restricted"))
    ),
)
"""What an erasure deletes, and the mark that it is executed."""


_is_executed = bindparam("is_executed", type_=Boolean)
LIST_ERASURES = Listing(
    select(erasures).where(or_(_is_executed.is_(None), erasures.c.execute_time.is_not(None) == _is_executed)),
    erasures.c.request_time,
    erasures.c.patient_id,
)

_STATES: Mapping[ErasureState, bool] = {ErasureState.PENDING: False, ErasureState.EXECUTED: True}


class ErasureService:
    """Implements ErasePatient and ListErasures."""

    def __init__(self, db: Database, outbox: Outbox, *, delay_days: int) -> None:
        """Takes the number of days between the request and the erasure."""
        self._db = db
        self._outbox = outbox
        self._delay = timedelta(days=delay_days)

    async def erase_patient(self, request: ErasePatientRequest, caller: Caller) -> ErasePatientResponse:
        """Deletes a patient, and schedules the erasure if none is scheduled. The access event contains the reason.

        The patients that are merged into it are erased too.

        Raises FieldsInvalid for an invisible reason, PatientNotFound, AlreadyMerged.
        """
        if violation := find_violation(request.reason):
            raise FieldsInvalid({"reason": violation})
        details = msgspec.json.encode({"reason": request.reason}).decode()
        current_access.get().details = details  # for an event of a rejected call
        async with self._db.begin() as tx:
            row = await tx.row(GET_ANY_PATIENT_FOR_UPDATE, id=request.id)
            if row is None:
                raise PatientNotFound
            if row["merged_into"]:
                raise AlreadyMerged(id=str(row["id"]), survivor_id=str(row["merged_into"]))
            now = datetime.now(UTC)
            schedule: dict[str, Any] = {
                "reason": request.reason,
                "actor_id": caller.id,
                "erase_time": now + self._delay,
            }
            [scheduled] = await tx.rows(SCHEDULE_ERASURE, patient_id=row["id"], **schedule)
            for merged in await tx.rows(LOCK_MERGED, survivor_id=row["id"]):
                await tx.run(SCHEDULE_ERASURE, patient_id=merged["id"], **schedule)
                record_change(tx, merged["id"], details=details)
            if row["delete_time"]:
                record_change(tx, row["id"], details=details)
            else:
                _delete_patient(tx, self._outbox, row, caller, details)
            return ErasePatientResponse(erase_time=scheduled["erase_time"])

    async def list_erasures(self, request: ListErasuresRequest) -> ListErasuresResponse:
        """Returns a page of erasures, newest first.

        Raises PageTokenInvalid.
        """
        rows, token = await LIST_ERASURES.read_page(self._db, request, is_executed=_STATES.get(request.state))
        record_read(row["patient_id"] for row in rows)
        return ListErasuresResponse(erasures=[_to_erasure(row) for row in rows], next_page_token=token)


class Eraser(BackgroundTask):
    """Executes the erasures that are due, each in a transaction, after it has deleted patients that were restored."""

    def __init__(self, db: Database, outbox: Outbox, log: AccessLog, *, interval: float = _INTERVAL_SECONDS) -> None:
        super().__init__(self._process_next, activity="erasing patients", interval=interval)
        self._db = db
        self._outbox = outbox
        self._log = log

    async def _process_next(self) -> bool:
        """Deletes or erases a patient. Returns False if there is none."""
        async with self._db.begin() as tx:
            row = await tx.row(FIND_NEXT)
            if row is None:
                return False
            caller = Caller(row["actor_id"], "ADMIN", expires=0)  # who requested the erasure
            current_caller.set(caller)
            current_access.set(Access(self._log, _METHOD, ""))
            if row["delete_time"]:
                await self._erase(tx, row, caller)
            else:
                _delete_patient(tx, self._outbox, row, caller, '{"repeated":true}')
            return True

    async def _erase(self, tx: Transaction, row: Record, caller: Caller) -> None:
        await tx.row(ERASE_REVISIONS, patient_id=row["id"])
        values = {"patient_id": row["id"], "create_time": row["create_time"], "restricted": row["restricted"]}
        for statement in _DELETIONS:
            await tx.run(statement, **values)
        erased = _erase_row(row, datetime.now(UTC))
        record_patient_change(tx, self._outbox, PatientErased, erased, caller, details='{"executed":true}')


def _to_erasure(row: Record) -> Erasure:
    return Erasure(
        patient_id=str(row["patient_id"]),
        reason=row["reason"],
        actor_id=row["actor_id"],
        create_time=row["request_time"],
        erase_time=row["erase_time"],
        execute_time=row["execute_time"],
    )


def _delete_patient(tx: Transaction, outbox: Outbox, row: Record, caller: Caller, details: str) -> None:
    now = datetime.now(UTC)  # read after locking, so the update times of a patient increase
    deleted = advance_row(row, now, delete_time=now)
    tx.add(UPDATE_PATIENT, **deleted)
    record_patient_change(tx, outbox, PatientDeleted, deleted, caller, details=details)


def _erase_row(row: Record, now: datetime) -> dict[str, Any]:
    """Returns what is published of an erased patient."""
    sequence = row["sequence"] + 1
    patient = Patient(
        id=str(row["id"]),
        restricted=row["restricted"],
        update_time=now,
        delete_time=row["delete_time"],
        etag=str(sequence),
    )
    state = {"id": row["id"], "sequence": sequence, "update_time": now, "resource": None}
    return state | {"message": PATIENT_CODEC.dumps(patient)}
