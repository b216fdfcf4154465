"""Deletes old revisions of patients: `python -m services.patient.prune_revisions --before 2026-01-31`.

Requires the role that owns the tables. The latest revision of each patient is retained, whatever its age.
"""

import argparse
import sys
from datetime import UTC, date, datetime, time
from uuid import UUID

from sqlalchemy import DateTime, Integer, Uuid, any_, bindparam, delete, select
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.postgres.database import Database
from services.common.postgres.guards import see_all
from services.common.postgres.statement import Statement
from services.common.rpc.server import run
from services.common.settings import DatabaseSettings
from services.patient.models import patients, revisions

_BATCH = 500
"""The number of patients whose revisions are deleted in one transaction."""

_LIST_IDS = Statement(
    see_all(select(patients.c.id))
    .where(patients.c.id > bindparam("after", type_=Uuid))
    .order_by(patients.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_DELETE = Statement(
    see_all(delete(revisions))
    .where(
        revisions.c.patient_id == patients.c.id,
        patients.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))),
        revisions.c.revision < patients.c.sequence,
        revisions.c.occur_time < bindparam("before", type_=DateTime(timezone=True)),
    )
    .returning(revisions.c.revision)
)


async def prune_revisions(db: Database, before: datetime) -> int:
    """Deletes the revisions before a time that are not the latest of their patient. Returns their number."""
    count, after = 0, UUID(int=0)
    while rows := await db.rows(_LIST_IDS, after=after, limit=_BATCH):
        ids = [row["id"] for row in rows]
        count += len(await db.rows(_DELETE, ids=ids, before=before))
        after = ids[-1]
    return count


def _parse_day(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-01-31") from None


async def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m services.patient.prune_revisions", description=__doc__)
    parser.add_argument("--before", type=_parse_day, required=True, help="the first day that is retained, in UTC")
    before: datetime = parser.parse_args().before
    async with Database(DatabaseSettings.read().database_url) as db:
        count = await prune_revisions(db, before)
    sys.stdout.write(f"Deleted {count} revisions from before {before:%Y-%m-%d}.\n")


if __name__ == "__main__":
    run(main)
