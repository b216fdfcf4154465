"""Merged patients: the RPCs that merge and unmerge records of the same person, and reads that follow merges."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from asyncpg import Record
from sqlalchemy import Uuid, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from gen.pulsetrack.patient.v1 import (
    MergePatientsRequest,
    Patient,
    PatientMerged,
    PatientUnmerged,
    PatientUpdated,
    UnmergePatientsRequest,
)
from services.common.audit.events import record_change, record_read
from services.common.context import Caller
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Database, Transaction
from services.common.postgres.guards import see_all
from services.common.postgres.paging import constant
from services.common.postgres.statement import Statement
from services.common.protobuf.encoded import Encoded
from services.common.rpc.conditions import Condition
from services.patient.changes import record_patient_change
from services.patient.domain import PATIENT_CODEC, advance_row, to_patient
from services.patient.errors import AlreadyMerged, EtagMismatch, PatientNotFound, RestrictionsDiffer, SamePatient
from services.patient.models import (
    CANCEL_ERASURE,
    GET_ANY_PATIENT_FOR_UPDATE,
    PATIENT,
    UPDATE_PATIENT,
    VISIBLE_PATIENTS,
    is_visible,
    patients,
    select_message,
)

_survivors = patients.alias("survivors")
_ids = bindparam("ids", type_=ARRAY(Uuid))

# Sees all merged patients: the survivor decides whether the caller may see the person.
FIND_SURVIVORS = Statement(
    see_all(select(patients.c.id.label("merged_id"), _survivors.c.id, select_message(_survivors.c)))
    .join_from(patients, _survivors, _survivors.c.id == patients.c.merged_into)
    .where(patients.c.id == any_(_ids), _survivors.c.delete_time.is_(None), is_visible(_survivors.c))
)
"""Finds the survivors of the merged patients with some ids."""

_LOCK_MERGES = Statement(select(func.pg_advisory_xact_lock(constant(0x6D65726765)).label("lock")))
"""Makes concurrent merges wait for each other: none then overlooks what another one merges into its patients."""

LOCK_TO_MERGE = Statement(
    VISIBLE_PATIENTS.with_only_columns(*PATIENT)
    .where(or_(patients.c.id == any_(_ids), patients.c.merged_into == bindparam("merged_id", type_=Uuid)))
    .order_by(patients.c.id)
    .with_for_update()
)
"""Locks patients, and those that are merged into one of them, in the order of their ids."""


LOCK_MERGED = Statement(
    VISIBLE_PATIENTS.with_only_columns(*PATIENT)
    .where(patients.c.merged_into == bindparam("survivor_id", type_=Uuid))
    .order_by(patients.c.id)
    .with_for_update()
)
"""Locks the patients that are merged into a patient."""


async def read_survivors(db: Database, ids: Sequence[UUID]) -> Mapping[UUID, bytes]:
    """Returns the serialized survivors by the ids of the merged patients. Other ids have none."""
    rows = await db.rows(FIND_SURVIVORS, ids=ids)
    record_read(each for row in rows for each in (row["merged_id"], row["id"]))
    return {row["merged_id"]: row["message"] for row in rows}


async def read_survivor(db: Database, merged_id: UUID) -> bytes:
    """Returns the serialized survivor of a merged patient. Raises PatientNotFound if the patient is not merged."""
    survivors = await read_survivors(db, [merged_id])
    if not survivors:
        raise PatientNotFound
    return survivors[merged_id]


async def restrict_merged(tx: Transaction, outbox: Outbox, survivor: Mapping[str, Any], caller: Caller) -> None:
    """Restricts the patients that are merged into a survivor, or ends that, as the survivor is after its change."""
    for row in await tx.rows(LOCK_MERGED, survivor_id=survivor["id"]):
        changed = advance_row(row, datetime.now(UTC), restricted=survivor["restricted"])
        tx.add(UPDATE_PATIENT, **changed)
        record_patient_change(tx, outbox, PatientUpdated, changed, caller, before=row)


class MergeService:
    """Implements MergePatients and UnmergePatients."""

    def __init__(self, db: Database, outbox: Outbox) -> None:
        self._db = db
        self._outbox = outbox

    async def merge_patients(
        self, request: MergePatientsRequest, caller: Caller, condition: Condition
    ) -> Encoded[Patient]:
        """Merges a patient, and those that are merged into it, into the survivor. Returns the survivor.

        A patient that is already merged into the survivor is left unchanged.

        Raises SamePatient, PatientNotFound, AlreadyMerged, RestrictionsDiffer, EtagMismatch.
        """
        survivor_id, merged_id = UUID(request.id), UUID(request.merged_id)
        record_read([survivor_id, merged_id])
        if survivor_id == merged_id:
            raise SamePatient
        async with self._db.begin() as tx:
            await tx.row(_LOCK_MERGES)
            found = await tx.rows(LOCK_TO_MERGE, ids=[survivor_id, merged_id], merged_id=merged_id)
            rows = {row["id"]: row for row in found}
            survivor = _check_unmerged(rows.pop(survivor_id, None), survivor_id, condition)
            response: Encoded[Patient] = Encoded(PATIENT_CODEC.dumps(to_patient(survivor)))
            merged = rows.get(merged_id)
            if merged is not None and merged["merged_into"] == survivor_id:
                return response
            expected = Condition(frozenset({request.merged_etag}) if request.merged_etag else None)
            merged = _check_unmerged(merged, merged_id, expected)
            if merged["restricted"] != survivor["restricted"]:
                raise RestrictionsDiffer
            now = datetime.now(UTC)
            for row in rows.values():
                changed = advance_row(row, now, merged_into=survivor_id, delete_time=row["delete_time"] or now)
                tx.add(UPDATE_PATIENT, **changed)
                record_patient_change(tx, self._outbox, PatientMerged, changed, caller)
            record_change(tx, survivor_id)
            return response

    async def unmerge_patients(
        self, request: UnmergePatientsRequest, caller: Caller, condition: Condition
    ) -> Encoded[Patient]:
        """Restores a merged patient, and cancels its erasure. A patient that is not merged is returned unchanged.

        Raises PatientNotFound, EtagMismatch.
        """
        async with self._db.begin() as tx:
            row = await tx.row(GET_ANY_PATIENT_FOR_UPDATE, id=request.id)
            if row is None or not row["merged_into"]:
                row = _check_unmerged(row, UUID(request.id), condition)
                return Encoded(PATIENT_CODEC.dumps(to_patient(row)))
            if not condition.accepts(to_patient(row).etag):
                raise EtagMismatch
            unmerged = advance_row(row, datetime.now(UTC), merged_into=None, delete_time=None)
            tx.add(UPDATE_PATIENT, **unmerged)
            tx.add(CANCEL_ERASURE, patient_id=row["id"])
            record_change(tx, row["merged_into"])
            return record_patient_change(tx, self._outbox, PatientUnmerged, unmerged, caller)


def _check_unmerged(row: Record | None, patient_id: UUID, condition: Condition) -> Record:
    """Returns the row of a patient. Raises PatientNotFound, AlreadyMerged, EtagMismatch."""
    if row is not None and row["merged_into"]:
        raise AlreadyMerged(id=str(patient_id), survivor_id=str(row["merged_into"]))
    if row is None or row["delete_time"]:
        raise PatientNotFound(id=str(patient_id))
    if not condition.accepts(to_patient(row).etag):
        raise EtagMismatch
    return row
