"""Verifies that no access event was changed, removed or inserted: `python -m services.common.audit.verify SERVICE`.

Recomputes the chain of seals and reports the first seal that does not match. A chain whose end was removed still
matches. To detect that, pass `--head HASH`, the hash of a seal that was stored elsewhere. The command reads the
environment of the service.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from services.common.audit.archive import Archive, CommandParser, verify_archives
from services.common.audit.seals import AuditIntegrityError, Chain, load_audit_tables, read_seals
from services.common.audit.signatures import parse_public_key, verify_signatures
from services.common.audit.tables import AuditTables
from services.common.postgres.database import Database, open_database
from services.common.rpc.server import run
from services.common.settings import PooledDatabaseSettings


async def verify(
    db: Database, tables: AuditTables, head: bytes = b"", archived: Sequence[Archive] = ()
) -> tuple[Chain, int]:
    """Returns the chain, and the number of events that are not sealed yet. Raises AuditIntegrityError.

    The archives, of which the ends are given, stand in for seals that were pruned after they were archived.
    """
    chain = Chain(tables, head, archived[-1].head if archived else b"")
    async for row in read_seals(db, tables):
        if chain.may_begin(row, archived):
            chain.begin(row)
        else:
            chain.add(row)
    await chain.verify_groups(db)
    transaction, position = chain.position
    unsealed_event = await db.row(tables.first_unsealed_event, transaction=transaction, position=position)
    chain.end(unsealed_event["id"] if unsealed_event else None)
    [unsealed] = await db.rows(tables.count_events_behind, transaction=transaction, position=position)
    return chain, unsealed["count"]


def _parse_hash(text: str) -> bytes:
    try:
        head = bytes.fromhex(text)
    except ValueError:
        head = b""
    if len(head) != hashlib.sha256().digest_size:
        raise argparse.ArgumentTypeError(f"{text!r} is not a hash of 64 hexadecimal digits")
    return head


async def main() -> None:
    """Runs the command. Exits with status 1 and the first violation if the audit log was changed."""
    parser = CommandParser("verify", __doc__)
    parser.add_argument("--archives", type=Path, help="the folder of the archives")
    parser.add_argument("--head", type=_parse_hash, default=b"", help="the hash of a seal that was stored elsewhere")
    parser.add_argument("--public-key", type=parse_public_key, help="the file of the key of the archives' signatures")
    options = parser.parse_args()
    if options.public_key and not options.archives:
        parser.error("--public-key requires --archives")
    name: str = options.service
    async with open_database(PooledDatabaseSettings.read()) as db:
        try:
            archived = verify_archives(name, options.archives) if options.archives else ()
            if options.public_key:
                verify_signatures(name, options.archives, options.public_key)
            chain, unsealed = await verify(db, load_audit_tables(name), options.head, archived)
        except AuditIntegrityError as error:
            sys.exit(f"The audit log of {name} was changed: {error}.")
    of_them_archived = f" ({archived[-1].number} archived)" if archived else ""
    sys.stdout.write(
        f"The audit log of {name} is intact: {chain.number} events sealed{of_them_archived}, {unsealed} not sealed yet."
        f" Head: {chain.head.hex()}\n"
    )


if __name__ == "__main__":
    run(main)
