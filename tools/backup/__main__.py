"""Backs up and restores the databases of a local system or of containers: `python -m tools.backup create` or `restore`.

`make backup` and `make restore` run the commands.
"""

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from pyrage.x25519 import Identity

from deploy.compose.__main__ import read_environment
from deploy.compose.secrets import Secrets
from deploy.errors import StartError
from deploy.settings import Settings
from services.common.settings import SettingsError
from tools.backup import compose, local
from tools.backup.create import create_backup
from tools.backup.erasures import describe_erasures, find_erasures
from tools.backup.folder import ARCHIVES, Manifest, open_backup
from tools.backup.keys import parse_identity, parse_recipient
from tools.backup.restore import restore_backup


def main() -> int:
    """Returns the exit code. After an error, which is printed, it is 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.backup", description=__doc__)
    commands = parser.add_subparsers(required=True)
    create = commands.add_parser("create", help="back up all databases and the secrets")
    create.add_argument("--to", type=Path, help="the new folder (default: a folder next to the data folder)")
    create.add_argument("--recipient", default="", help="the public key to encrypt to: age1...")
    create.add_argument("--compose", action="store_true", help="the containers instead of the local system")
    create.set_defaults(run=_create)
    restore = commands.add_parser("restore", help="restore a backup into an empty data folder")
    restore.add_argument("--from", type=Path, required=True, dest="folder", help="the folder of the backup")
    restore.add_argument("--secrets", type=Path, help="the file of the secrets (default: next to the folder)")
    restore.add_argument("--key", type=Path, help="the file of the private key")
    restore.add_argument(
        "--erasures", type=Path, help="a list of erasures (default: the newest in the folders next to it)"
    )
    restore.add_argument("--compose", action="store_true", help="into new containers")
    restore.set_defaults(run=_restore)
    keygen = commands.add_parser("keygen", help="create a private key, and print its public key")
    keygen.add_argument("file", type=Path, help="the new file of the private key")
    keygen.set_defaults(run=_create_key)
    options = parser.parse_args()
    try:
        options.run(options)
    except (StartError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        print(f"The command failed: {str(error) or type(error).__name__}.", file=sys.stderr)
        return 1
    return 0


def _create(options: argparse.Namespace) -> None:
    environment = read_environment() if options.compose else os.environ
    settings = Settings.read(environment)
    recipient = parse_recipient(options.recipient, "RECIPIENT") if options.recipient else None
    data = settings.data_dir
    folder = options.to or data.with_name(f"{data.name}.backups") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    databases = compose.open_databases(environment) if options.compose else local.open_databases(settings)
    secrets = data / ("compose" if options.compose else "secrets")
    archives = None if options.compose else data / ARCHIVES
    backup = create_backup(databases, secrets, folder, recipient, archives=archives)
    manifest, secrets_file = asyncio.run(backup)
    print(f"Backed up {_describe(manifest)} to {folder}.")
    print(f"The secrets are in {secrets_file}. Keep them elsewhere: with them, the dumps can be used to sign tokens.")
    if not recipient:
        print("The files are not encrypted. RECIPIENT=age1... encrypts them to a public key.")


def _restore(options: argparse.Namespace) -> None:
    identity = _read_identity(options.key) if options.key else None
    backup = open_backup(options.folder, identity)
    erasures = find_erasures(backup, options.erasures)
    if options.compose:
        environment = read_environment()
        secrets = Secrets(Settings.read(environment).data_dir / "compose")
        compose.restore_backup(environment, secrets, backup, erasures, options.secrets)
    else:
        asyncio.run(restore_backup(Settings.read(), backup, erasures, options.secrets))
    print(f"Restored {_describe(backup.manifest)}, as of {backup.manifest.begin_time:%Y-%m-%d %H:%M:%S} UTC.")
    print(describe_erasures(erasures))
    print(f"Start the system with `make {'compose' if options.compose else 'up'}`.")


def _create_key(options: argparse.Namespace) -> None:
    identity = Identity.generate()
    options.file.touch(mode=0o600, exist_ok=False)
    options.file.write_text(f"# public key: {identity.to_public()}\n{identity}\n", encoding="utf-8")
    print(identity.to_public())


def _describe(manifest: Manifest) -> str:
    rows = sum(sum(dump.rows.values()) for dump in manifest.databases)
    size = sum(dump.size for dump in manifest.databases)
    return f"{len(manifest.databases)} databases with {rows:,} rows ({size / 1e6:,.1f} MB)"


def _read_identity(path: Path) -> Identity:
    try:
        return parse_identity(path.read_text(encoding="utf-8"), f"KEY: {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"KEY: {path} cannot be read: {error}.") from None


if __name__ == "__main__":
    sys.exit(main())
