"""Deletes what is archived from the audit's tables: `python -m services.common.audit.prune SERVICE --folder DIR`.

Only the tables' owner may. The archives are proved first. The last archived seal stays, and the chain continues after
it: `services.common.audit.verify` proves the rest with the archives.
"""

import argparse
import sys
from pathlib import Path

from sqlalchemy import BigInteger, bindparam, delete, func, select

from services.common.audit.archive import Archive, verify_archives
from services.common.audit.seals import AuditIntegrityError, load_audit_tables
from services.common.audit.tables import AuditTables
from services.common.postgres.database import Database, Statement
from services.common.protobuf.contract import SERVICES
from services.common.rpc.server import run
from services.common.settings import DatabaseSettings


async def prune(db: Database, tables: AuditTables, archived: Archive) -> int:
    """Deletes the events of all seals up to an archive's end, and the seals before it. Returns how many events.

    Raises AuditIntegrityError if the tables' chain is not the archived one.
    """
    event, seal = tables.events.c, tables.seals.c
    last = bindparam("number", type_=BigInteger)
    of_seals = select(seal.event_id).where(seal.number <= last)
    deleted = delete(tables.events).where(event.id.in_(of_seals)).returning(event.id).cte("deleted")
    async with db.begin() as tx:
        row = await tx.row(Statement(select(seal.hash).where(seal.number == last)), number=archived.number)
        if row is None or row["hash"] != archived.head:
            raise AuditIntegrityError(f"seal {archived.number} is not the one that the archives end with")
        [count] = await tx.rows(
            Statement(select(func.count().label("count")).select_from(deleted)), number=archived.number
        )
        await tx.run(Statement(delete(tables.seals).where(seal.number < last)), number=archived.number)
    return int(count["count"])


async def main() -> None:
    """Deletes once. Exits with status 1 if an archive is broken or is of another chain."""
    parser = argparse.ArgumentParser(prog="python -m services.common.audit.prune", description=__doc__)
    parser.add_argument("service", choices=SERVICES, help="whose audit")
    parser.add_argument("--folder", type=Path, required=True, help="where the archives are")
    options = parser.parse_args()
    name: str = options.service
    async with Database(DatabaseSettings.read().database_url) as db:
        try:
            archived = verify_archives(name, options.folder)
            count = await prune(db, load_audit_tables(name), archived) if archived else 0
        except AuditIntegrityError as error:
            sys.exit(f"Nothing is deleted from the audit of {name}: {error}.")
    sys.stdout.write(f"{count} archived events are deleted from the audit of {name}.\n")


if __name__ == "__main__":
    run(main)
