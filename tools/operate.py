"""Runs an operator's command on the local system: `python -m tools.operate rotate-keys|audit-verify [OPTION...]`.

The commands belong to the services and take a service's environment. This finds that in the data folder.
"""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tools.local.errors import StartError
from tools.local.settings import Settings

_CONNECT_SECONDS = 5
_POSTGRES_PORT = 5432


@dataclass(frozen=True)
class Operation:
    """A command of a service."""

    module: str
    secrets: Mapping[str, str]
    """The file in the data folder's `secrets` that holds a setting, by the setting's variable."""


OPERATIONS = {
    "rotate-keys": Operation(
        "services.auth.rotate",
        {"PULSETRACK_DATABASE_URL": "auth-database-url", "PULSETRACK_KEY_PASSPHRASE": "key-passphrase"},
    ),
    "audit-verify": Operation("services.patient.verify", {"PULSETRACK_DATABASE_URL": "patient-database-url"}),
}


def main(arguments: Sequence[str]) -> None:
    """Replaces this process with the command. Exits with one sentence if the system does not run."""
    name, *options = arguments or [""]
    if name not in OPERATIONS:
        sys.exit(f"usage: python -m tools.operate {'|'.join(OPERATIONS)} [OPTION...]")
    operation = OPERATIONS[name]
    try:
        environment = _environment(operation, Settings.read().data_dir)
    except StartError as error:
        sys.exit(str(error))
    command = [sys.executable, "-m", operation.module, *options]
    os.execve(sys.executable, command, os.environ | environment)  # noqa: S606 - no shell is wanted


def _environment(operation: Operation, folder: Path) -> dict[str, str]:
    """Returns the command's environment. Raises StartError if its database cannot be reached."""
    files = {variable: folder / "secrets" / name for variable, name in operation.secrets.items()}
    try:
        database = urlsplit(files["PULSETRACK_DATABASE_URL"].read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        raise StartError(f"There is no system in the data dir {folder}: start one with `make up`.") from None
    except OSError as error:
        raise StartError(f"The data dir {folder} cannot be used: {error.strerror}.") from None
    address = (database.hostname or "", database.port or _POSTGRES_PORT)
    try:
        socket.create_connection(address, _CONNECT_SECONDS).close()
    except OSError:
        raise StartError(f"The database of the data dir {folder} does not answer: start the system first.") from None
    return {f"{variable}_FILE": str(path) for variable, path in files.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
