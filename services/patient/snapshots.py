"""Snapshots: all patients as they were at a position of the journal of revisions.

The state of a patient in a snapshot is its last revision up to the position. Revisions do not change, so each page is
read in a transaction of its own, and an interrupted read is resumed by the position and the last patient.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg import Record
from sqlalchemy import BigInteger, Column, Uuid, bindparam, not_, select, true, tuple_

from services.common.postgres.database import Database
from services.common.postgres.guards import see_all
from services.common.postgres.journal import JournalPosition
from services.common.postgres.lookups import apply_last, is_found
from services.common.postgres.paging import constant
from services.common.postgres.statement import Statement
from services.patient.errors import SnapshotPruned
from services.patient.models import VISIBLE_PATIENTS, patients, revisions

FIRST = UUID(int=0)
"""Precedes the IDs of all patients."""

_end = tuple_(bindparam("transaction", type_=BigInteger), bindparam("position", type_=BigInteger))


class Place(NamedTuple):
    """A place in a snapshot."""

    snapshot: JournalPosition
    after: UUID = FIRST
    """The last patient that was examined."""


class SnapshotReader:
    """Reads the patients of a snapshot that are visible to the current caller, in the order of their IDs."""

    def __init__(self, size: int, *columns: Column[Any]) -> None:
        """Takes the number of patients that a page examines, and columns of `revisions` to read beside `patient`."""
        self._size = size
        page = (
            VISIBLE_PATIENTS.with_only_columns(patients.c.id)
            .where(patients.c.id > bindparam("after", type_=Uuid))
            .order_by(patients.c.id)
            .limit(constant(size))
            .subquery("page")
        )
        # With the index of the journal, Postgres would read revisions of all patients.
        is_before_end = apply_last(tuple_(revisions.c.transaction, revisions.c.position) <= _end)
        # The revisions are those of visible patients.
        state = (
            see_all(select(revisions.c.patient, *columns))
            .where(revisions.c.patient_id == page.c.id, is_before_end)
            .order_by(revisions.c.revision.desc())
            .limit(constant(1))
            .lateral("state")
        )
        first = see_all(select(constant(1))).where(
            revisions.c.patient_id == page.c.id, revisions.c.revision == constant(1)
        )
        self.statement = Statement(
            see_all(select(page.c.id, *state.c))
            .add_columns((state.c.patient.is_(None) & not_(is_found(first))).label("is_pruned"))
            .select_from(page.outerjoin(state, true()))
            .order_by(page.c.id)
        )

    async def read_page(self, db: Database, place: Place) -> tuple[Sequence[Record], Place | None]:
        """Returns the states of the next patients, and the place of the next page, or None after the last one.

        Raises SnapshotPruned if a patient has neither a state nor its first revision: its state may have been pruned.
        """
        rows = await db.rows(self.statement, after=place.after, **place.snapshot._asdict())
        if any(row["is_pruned"] for row in rows):
            raise SnapshotPruned
        following = place._replace(after=rows[-1]["id"]) if len(rows) == self._size else None
        return [row for row in rows if row["patient"]], following  # the others were created after the snapshot
