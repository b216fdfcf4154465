"""Runs an operator's command on the local system: `python -m tools.operate COMMAND [SERVICE] [OPTION...]`.

The commands belong to the services and need the environment of a service, which is read from the data folder. A command
of every service runs for each of them in turn, or only for SERVICE.
"""

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from deploy.errors import StartError
from deploy.settings import Settings
from services.common.protobuf.contract import SERVICES

_CONNECT_SECONDS = 5
_POSTGRES_PORT = 5432


ARCHIVES = "{data}/audit"
"""The folder of the audit's archives, in the data folder."""


@dataclass(frozen=True)
class Operation:
    """A command of a service."""

    module: str
    secrets: Mapping[str, str]
    """The file in the data folder's `secrets` that holds a setting, by the setting's variable."""
    arguments: Sequence[str] = ()


def _of_each_service(module: str, folder_option: str, *, owner: bool = False) -> dict[str, Operation]:
    """Returns a command that each service has, by the service.

    Its arguments are the service, and an option that names the folder of the audit's archives.
    """
    url = "owner-database-url" if owner else "database-url"
    return {
        service: Operation(module, {"PULSETRACK_DATABASE_URL": f"{service}-{url}"}, [service, folder_option, ARCHIVES])
        for service in SERVICES
    }


OPERATIONS = {
    "rotate-keys": {
        "auth": Operation(
            "services.auth.rotate",
            {"PULSETRACK_DATABASE_URL": "auth-database-url", "PULSETRACK_KEY_PASSPHRASE": "key-passphrase"},
        )
    },
    "audit-verify": _of_each_service("services.common.audit.verify", "--archives"),
    "audit-archive": _of_each_service("services.common.audit.archive", "--folder"),
    "audit-prune": _of_each_service("services.common.audit.prune", "--folder", owner=True),
}


def _parse_hash(text: str) -> None:
    """Raises ValueError if a text is not a SHA-256 hash in hexadecimal digits."""
    if len(bytes.fromhex(text)) != hashlib.sha256().digest_size:
        raise ValueError(text)


_VALUES: Mapping[str, tuple[Callable[[str], object], str]] = {
    "--before": (date.fromisoformat, "BEFORE must be a date such as 2026-01-31"),
    "--head": (_parse_hash, "HEAD must be the hash of a seal, 64 hexadecimal digits, as audit-verify prints it"),
}
"""How the value of an option is parsed, and what the variable of the Makefile must be."""


def main(arguments: Sequence[str]) -> None:
    """Runs the command. Exits with its status, or with one sentence if an argument is wrong or the system is down."""
    name, *options = arguments or [""]
    if name not in OPERATIONS:
        sys.exit(f"usage: python -m tools.operate {'|'.join(OPERATIONS)} [OPTION...]")
    operations = OPERATIONS[name]
    if options and not options[0].startswith("-"):
        service = options.pop(0)
        if service not in operations:
            sys.exit(f"SERVICE must be one of {', '.join(operations)}, not {service!r}.")
        operations = {service: operations[service]}
    try:
        _check(options)
        sys.exit(max([_run(operation, options) for operation in operations.values()]))
    except StartError as error:
        sys.exit(str(error))


def _check(options: Sequence[str]) -> None:
    """Raises StartError if the value of an option is invalid."""
    for option, value in pairwise(options):
        parse, rule = _VALUES.get(option, (str, ""))
        try:
            parse(value)
        except ValueError:
            raise StartError(f"{rule}, not {value!r}.") from None


def _run(operation: Operation, options: Sequence[str]) -> int:
    """Runs the command of one service and returns its status. Raises StartError."""
    data = Settings.read().data_dir
    environment = os.environ | _environment(operation, data)
    arguments = [argument.replace("{data}", str(data)) for argument in operation.arguments]
    command = [sys.executable, "-m", operation.module, *arguments, *options]
    return subprocess.run(command, env=environment, check=False).returncode


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
