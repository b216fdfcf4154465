"""Archives and deletes old access events, once a day: `python -m services.common.audit.retain SERVICE`.

Requires the role that owns the tables. Events that are older than PULSETRACK_ACCESS_EVENT_RETENTION_DAYS are written to
signed archives, a limited number to each. An archive is verified before its events are deleted, and the last archived
seal stays, so that the chain continues after it. `--once` ends when no old event is left, for a scheduler.

Several processes can run for one service if they share the folder: one at a time works.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta
from sqlalchemy import func, literal, select, text, true

from services.common.audit.archive import Archive, CommandParser, archive, verify_archives
from services.common.audit.prune import prune
from services.common.audit.seals import AuditIntegrityError, load_audit_tables
from services.common.audit.signatures import parse_private_key, sign_archives
from services.common.background import BackgroundTask
from services.common.observability.logging import configure_logging
from services.common.postgres.database import Database
from services.common.postgres.statement import Statement
from services.common.rpc.server import run
from services.common.settings import DatabaseSettings, SettingsError

_BATCH = 10_000
_INTERVAL_SECONDS = 24 * 3600.0
_CONNECTIONS = 2

_TRY_TO_LOCK = Statement(select(literal(1)).where(text("pg_try_advisory_xact_lock(7081304)")))
_WAIT_WHILE_IDLE = Statement(select(func.set_config("idle_in_transaction_session_timeout", "0", true())))

_log = logging.getLogger(__name__)


class RetentionSettings(DatabaseSettings, frozen=True, kw_only=True):
    """The settings of the retention of access events. The database URL is that of the tables' owner."""

    access_event_retention_days: Annotated[
        int, Meta(ge=0, description="Days that access events stay in the database; 0 means forever.")
    ] = 0
    archive_folder: Annotated[str, Meta(description="Folder of the archives of older access events.")] = ""
    archive_key: Annotated[str, Meta(description="Ed25519 private key in PEM, which signs the archives.")] = ""


class AccessEventRetention:
    """Moves the access events of a service that are older than a number of days to archives."""

    def __init__(
        self, db: Database, service: str, folder: Path, key: Ed25519PrivateKey, *, days: int, batch: int = _BATCH
    ) -> None:
        self._db = db
        self._service, self._tables = service, load_audit_tables(service)
        self._folder, self._key = folder, key
        self._period = timedelta(days=days)
        self._batch = batch
        self._ends: Sequence[Archive] = ()

    async def move_batch(self) -> bool:
        """Moves the oldest events to a new archive. Returns True if there may be more.

        Does nothing while another process moves events. Raises AuditIntegrityError, OSError, DependencyUnavailable.
        """
        async with self._db.begin() as tx:  # holds the lock, and reads and changes nothing
            await tx.run(_WAIT_WHILE_IDLE)  # idle while it verifies and writes, which takes longer than the role may
            return await tx.row(_TRY_TO_LOCK) is not None and await self._move_batch()

    async def _move_batch(self) -> bool:
        await self._delete_archived()  # of a process that ended before it deleted them
        older_than = datetime.now(UTC) - self._period
        path = await archive(
            self._db, self._tables, self._service, self._folder, older_than, ends=self._ends, limit=self._batch
        )
        if path is None:
            return False
        count = await self._delete_archived()
        number, head = self._ends[-1]
        _log.info("moved %d access events up to seal %d, %s, to %s", count, number, head.hex(), path.name)
        return True

    async def _delete_archived(self) -> int:
        """Verifies and signs the archives that are not known yet, and deletes their events."""
        self._ends = verify_archives(self._service, self._folder, self._ends)
        sign_archives(self._service, self._folder, self._key)
        return await prune(self._db, self._tables, self._ends[-1]) if self._ends else 0


async def main() -> None:
    """Runs the command. Ends at once if the retention is off."""
    parser = CommandParser("retain", __doc__)
    parser.add_argument("--once", action="store_true", help="end when no old event is left")
    options = parser.parse_args()
    name: str = options.service
    settings = RetentionSettings.read()
    days = settings.access_event_retention_days
    if not days:
        sys.stdout.write("PULSETRACK_ACCESS_EVENT_RETENTION_DAYS is 0: access events stay in the database.\n")
        return
    if not settings.archive_folder:
        raise SettingsError("PULSETRACK_ARCHIVE_FOLDER is required")
    key = parse_private_key(settings.archive_key)
    configure_logging(name, "INFO")
    async with Database(settings.database_url, connections=_CONNECTIONS) as db:
        retention = AccessEventRetention(db, name, Path(settings.archive_folder), key, days=days)
        await (_move_all(retention, name) if options.once else _move_daily(retention))


async def _move_all(retention: AccessEventRetention, service: str) -> None:
    try:
        while await retention.move_batch():
            pass
    except (AuditIntegrityError, OSError) as error:
        sys.exit(f"The access events of {service} cannot be moved: {error}.")


async def _move_daily(retention: AccessEventRetention) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with BackgroundTask(retention.move_batch, activity="moving access events", interval=_INTERVAL_SECONDS):
        await stop.wait()


if __name__ == "__main__":
    run(main)
