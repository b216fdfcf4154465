"""Retention: rows are deleted in small batches after a period.

Several processes can delete the rows of one table: each skips the rows that another is deleting.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Integer, Interval, Table, any_, bindparam, delete, func, select

from services.common.background import BackgroundTask
from services.common.postgres.database import Database
from services.common.postgres.guards import see_all
from services.common.postgres.statement import Statement

_BATCH = 1000
_INTERVAL_SECONDS = 600.0


class OldRows:
    """The rows of a table whose time is longer ago than a period; none if that is zero.

    Rows without a time are retained. The primary key has one column. A large table needs an index of the time.
    """

    def __init__(self, table: Table, time: ColumnElement[Any], period: timedelta) -> None:
        self._period = period
        [key] = table.primary_key.columns
        is_old = time < func.now() - bindparam("period", type_=Interval)
        oldest = see_all(select(key)).where(is_old).order_by(time).limit(bindparam("limit", type_=Integer))
        batch = oldest.with_for_update(skip_locked=True).scalar_subquery()
        self._delete = Statement(see_all(delete(table)).where(key == any_(func.array(batch))).returning(key))

    async def delete_batch(self, db: Database) -> bool:
        """Returns True if there may be more."""
        if not self._period:
            return False
        return len(await db.rows(self._delete, period=self._period, limit=_BATCH)) == _BATCH


class Retention(BackgroundTask):
    """Deletes old rows of tables."""

    def __init__(self, db: Database, *tables: OldRows) -> None:
        super().__init__(self._delete_batches, activity="deleting old rows", interval=_INTERVAL_SECONDS)
        self._db = db
        self._tables = tables

    async def _delete_batches(self) -> bool:
        return any([await rows.delete_batch(self._db) for rows in self._tables])
