"""Retention: rows are deleted in small batches after a number of days.

Several processes can delete the rows of one table: each skips the rows that another is deleting.
"""

from datetime import timedelta

from sqlalchemy import Column, Integer, Interval, Table, any_, bindparam, delete, func, select

from services.common.background import BackgroundTask
from services.common.postgres.database import Database
from services.common.postgres.statement import Statement

_BATCH = 1000
_INTERVAL_SECONDS = 600.0


class Retention(BackgroundTask):
    """Deletes the rows of a table whose time is longer ago than a number of days; none if that is 0.

    Rows without a time are retained. The primary key has one column, and an index has the time.
    """

    def __init__(self, db: Database, table: Table, time: Column[object], *, days: int) -> None:
        super().__init__(self._delete_batch, activity=f"deleting old rows of {table.name}", interval=_INTERVAL_SECONDS)
        self._db = db
        self._period = timedelta(days=days)
        [key] = table.primary_key.columns
        is_old = time < func.now() - bindparam("period", type_=Interval)
        oldest = select(key).where(is_old).order_by(time).limit(bindparam("limit", type_=Integer))
        batch = oldest.with_for_update(skip_locked=True).scalar_subquery()
        self._delete = Statement(delete(table).where(key == any_(func.array(batch))).returning(key))

    async def _delete_batch(self) -> bool:
        """Returns True if there may be more."""
        if not self._period:
            return False
        return len(await self._db.rows(self._delete, period=self._period, limit=_BATCH)) == _BATCH
