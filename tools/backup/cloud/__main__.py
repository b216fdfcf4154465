"""Runs in the tasks of the backup stack: `python -m tools.backup.cloud create|list|restore|erasures|discard|audit`.

docs/aws.md describes the commands that start the tasks.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from pyrage.x25519 import Identity

from deploy.errors import StartError
from deploy.topology import TOPOLOGY, database_name
from services.common.settings import SettingsError
from tools.backup.cloud.audit import COMMANDS, run_audit_command
from tools.backup.cloud.bucket import BACKUPS, ERRORS, Bucket
from tools.backup.cloud.restore import discard_replaced, repeat_erasures, restore_backup
from tools.backup.cloud.settings import BackupSettings, MaintenanceSettings
from tools.backup.create import create_backup
from tools.backup.databases import Client, create_client
from tools.backup.erasures import describe_erasures, find_erasures, find_newest_erasures
from tools.backup.folder import MANIFEST, open_backup


def main() -> int:
    """Returns the exit code. An error is logged with level ERROR, which raises an alarm."""
    options = _parse_arguments()
    try:
        return int(options.run(options) or 0)
    except (StartError, SettingsError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, *ERRORS) as error:
        _log("ERROR", str(error) or type(error).__name__)
        return 1


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.backup.cloud", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("create", help="back up all databases").set_defaults(run=_create)
    commands.add_parser("list", help="list the complete backups").set_defaults(run=_list)
    restore = commands.add_parser("restore", help="restore a backup; the present databases are renamed")
    restore.add_argument("name")
    restore.add_argument("--without-erasures", action="store_true", help="if the newest backup has another key")
    restore.set_defaults(run=_restore)
    erasures = commands.add_parser("erasures", help="repeat the erasures of the newest backup in the present database")
    erasures.set_defaults(run=_repeat_erasures)
    discard = commands.add_parser("discard", help="delete the databases that restores have renamed")
    discard.set_defaults(run=_discard)
    audit = commands.add_parser("audit", help="run a command on the audit log, with the archives of the bucket")
    audit.add_argument("command", choices=COMMANDS)
    audit.add_argument("service", choices=TOPOLOGY)
    audit.add_argument("options", nargs=argparse.REMAINDER)
    audit.set_defaults(run=_audit)
    return parser.parse_args()


def _create(_: argparse.Namespace) -> None:
    settings = BackupSettings.read()
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, name)
        backup = create_backup(_open_databases(settings.database_url), None, folder, settings.parse_recipient())
        manifest, _secrets = asyncio.run(backup)
        Bucket(settings.backup_bucket).upload(folder, f"{BACKUPS}{name}/")
    rows = sum(sum(dump.rows.values()) for dump in manifest.databases)
    size = sum(dump.size for dump in manifest.databases)
    _log("INFO", f"Backed up {rows:,} rows to {name}.", backup="succeeded", rows=rows, bytes=size)


def _list(_: argparse.Namespace) -> None:
    for name in Bucket(MaintenanceSettings.read().backup_bucket).list_backups():
        sys.stdout.write(f"{name}\n")


def _restore(options: argparse.Namespace) -> None:
    settings = MaintenanceSettings.read()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, options.name)
        Bucket(settings.backup_bucket).download(f"{BACKUPS}{options.name}/", folder)
        if not any(folder.iterdir()):
            raise StartError("The bucket has no such backup. The command `list` lists them.")
        _download_newest_erasures(settings, folder.parent)
        backup = open_backup(folder, _read_key(settings, folder))
        erasures = None if options.without_erasures else find_erasures(backup, None)
        replaced = restore_backup(settings, backup, erasures)
    as_of = f"{backup.manifest.begin_time:%Y-%m-%d %H:%M:%S} UTC"
    _log("INFO", f"Restored the databases as of {as_of}. {describe_erasures(erasures)}", replaced=replaced)


def _repeat_erasures(_: argparse.Namespace) -> None:
    settings = MaintenanceSettings.read()
    with tempfile.TemporaryDirectory() as scratch:
        folder = _download_newest_erasures(settings, Path(scratch))
        erasures = find_newest_erasures(Path(scratch), _read_key(settings, folder))
    if erasures is None:
        raise StartError("The bucket has no list of erasures. Back up the databases first.")
    repeat_erasures(settings, erasures)
    _log("INFO", describe_erasures(erasures))


def _download_newest_erasures(settings: MaintenanceSettings, parent: Path) -> Path:
    """Downloads the list of erasures of the newest backup, and its manifest, into a folder. Returns the folder."""
    bucket = Bucket(settings.backup_bucket)
    name = max(bucket.list_backups(), default="none")
    for files in (MANIFEST, "erasures.*"):
        bucket.download(f"{BACKUPS}{name}/", parent / name, names=files)
    return parent / name


def _read_key(settings: MaintenanceSettings, folder: Path) -> Identity | None:
    """Returns the private key if a folder has encrypted files. Raises StartError."""
    return settings.parse_key() if any(folder.glob("*.age")) else None


def _discard(_: argparse.Namespace) -> None:
    names = asyncio.run(discard_replaced(MaintenanceSettings.read().database_url))
    _log("INFO", f"Deleted {len(names)} databases.", deleted=names)


def _audit(options: argparse.Namespace) -> int:
    return run_audit_command(MaintenanceSettings.read(), options.command, options.service, options.options)


@asynccontextmanager
async def _open_databases(server: str) -> AsyncIterator[Mapping[str, Client]]:
    """Yields clients of the databases on a server."""
    address = urlsplit(server)
    urls = {service: address._replace(path=f"/{database_name(service)}").geturl() for service in TOPOLOGY}
    yield {service: create_client(url) for service, url in urls.items()}


def _log(level: str, message: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"level": level, "message": message, **fields}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
