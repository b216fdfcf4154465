"""Proves that no access event was changed, removed or added: `python -m services.common.audit.verify SERVICE`.

Recomputes the chain of seals and names the first that is broken. A chain that was cut at its end is whole in itself:
`--head HASH`, the hash of a seal that was kept elsewhere, finds that. The environment is the service's.
"""

import argparse
import sys
from pathlib import Path

from services.common.audit.archive import Archive, verify_archives
from services.common.audit.seals import AuditIntegrityError, Chain, load_audit_tables, read_seals
from services.common.audit.tables import AuditTables
from services.common.postgres.database import Database
from services.common.protobuf.contract import SERVICES
from services.common.rpc.server import run
from services.common.settings import DatabaseSettings


async def verify(
    db: Database, tables: AuditTables, head: bytes = b"", archived: Archive | None = None
) -> tuple[Chain, int]:
    """Returns the chain, and how many events are not sealed yet. Raises AuditIntegrityError.

    Seals that were deleted after they had been archived are proved by the archive.
    """
    chain = Chain(tables, head, archived.head if archived else b"")
    async for row in read_seals(db, tables):
        if archived and not chain.number and (row["number"], row["hash"]) == (archived.number, archived.head):
            chain.begin(row)
        else:
            chain.add(row)
    await chain.prove_groups(db)
    transaction, position = chain.place
    added = await db.row(tables.first_unsealed_event, transaction=transaction, position=position)
    chain.end(added["id"] if added else None)
    [unsealed] = await db.rows(tables.count_events_behind, transaction=transaction, position=position)
    return chain, unsealed["count"]


async def main() -> None:
    """Verifies once. Exits with what is broken, and status 1, if anything is."""
    parser = argparse.ArgumentParser(prog="python -m services.common.audit.verify", description=__doc__)
    parser.add_argument("service", choices=SERVICES, help="whose audit to verify")
    parser.add_argument("--archives", type=Path, help="the folder with what was archived of the audit")
    parser.add_argument("--head", type=bytes.fromhex, default=b"", help="the hash of a seal, kept elsewhere")
    options = parser.parse_args()
    name: str = options.service
    async with Database(DatabaseSettings.read().database_url) as db:
        try:
            archived = verify_archives(name, options.archives) if options.archives else None
            chain, unsealed = await verify(db, load_audit_tables(name), options.head, archived)
        except AuditIntegrityError as error:
            sys.exit(f"The audit of {name} is broken: {error}.")
    and_archived = f" ({archived.number} of them archived)" if archived else ""
    sys.stdout.write(
        f"The audit of {name} is whole: {chain.number} events are sealed{and_archived}, {unsealed} not yet."
        f" Its head is {chain.head.hex()}\n"
    )


if __name__ == "__main__":
    run(main)
