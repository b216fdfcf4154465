"""Deletes archived access events from the database: `python -m services.common.audit.prune SERVICE --folder DIR`.

Requires the role that owns the tables. The archives are verified first. The last archived seal stays in the database,
and the chain continues after it. `services.common.audit.verify` verifies the rest together with the archives.
"""

import sys
from pathlib import Path

from sqlalchemy import BigInteger, bindparam, delete, func, select

from services.common.audit.archive import Archive, CommandParser, verify_archives
from services.common.audit.seals import AuditIntegrityError, load_audit_tables
from services.common.audit.tables import AuditTables
from services.common.postgres.database import Database, open_database
from services.common.postgres.statement import Statement
from services.common.rpc.server import run
from services.common.settings import PooledDatabaseSettings


async def prune(db: Database, tables: AuditTables, archived: Archive) -> int:
    """Deletes the archived events, and the seals before the last archived one. Returns the number of deleted events.

    Raises AuditIntegrityError if the chain in the database is not the archived chain.
    """
    event, seal = tables.events.c, tables.seals.c
    last = bindparam("number", type_=BigInteger)
    archived_events = select(seal.event_id).where(seal.number <= last)
    deleted = delete(tables.events).where(event.id.in_(archived_events)).returning(event.id).cte("deleted")
    async with db.begin() as tx:
        row = await tx.row(Statement(select(seal.hash).where(seal.number == last)), number=archived.number)
        if row is None or row["hash"] != archived.head:
            raise AuditIntegrityError(f"seal {archived.number} does not match the last seal of the archives")
        [count] = await tx.rows(
            Statement(select(func.count().label("count")).select_from(deleted)), number=archived.number
        )
        await tx.run(Statement(delete(tables.seals).where(seal.number < last)), number=archived.number)
    return int(count["count"])


async def main() -> None:
    """Runs the command. Exits with status 1 if an archive was changed or does not belong to the chain."""
    parser = CommandParser("prune", __doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the folder of the archives")
    options = parser.parse_args()
    name: str = options.service
    async with open_database(PooledDatabaseSettings.read()) as db:
        try:
            archived = verify_archives(name, options.folder)
            count = await prune(db, load_audit_tables(name), archived[-1]) if archived else 0
        except AuditIntegrityError as error:
            sys.exit(f"Nothing was deleted from the audit log of {name}: {error}.")
    sys.stdout.write(f"Deleted {count} archived events from the audit log of {name}.\n")


if __name__ == "__main__":
    run(main)
