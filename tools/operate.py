"""Runs an operator command on the local system: `python -m tools.operate COMMAND [SERVICE] [OPTION...]`.

The commands are modules of the services, and run with settings from the data folder. A command that every service has
runs for each service in turn, or only for SERVICE.
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
"""The folder of the audit archives."""


@dataclass(frozen=True)
class Operation:
    """A command of a service."""

    module: str
    secrets: Mapping[str, str]
    """The names of the secrets that it reads, by setting."""
    arguments: Sequence[str] = ()


def _for_each_service(module: str, folder_option: str, *, owner: bool = False) -> dict[str, Operation]:
    """Returns a command that every service has, by service.

    Its arguments are the service and an option with the folder of the audit archives.
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
    "prune-revisions": {
        "patient": Operation(
            "services.patient.prune_revisions", {"PULSETRACK_DATABASE_URL": "patient-owner-database-url"}
        )
    },
    "audit-verify": _for_each_service("services.common.audit.verify", "--archives"),
    "audit-archive": _for_each_service("services.common.audit.archive", "--folder"),
    "audit-prune": _for_each_service("services.common.audit.prune", "--folder", owner=True),
}


def _parse_hash(text: str) -> None:
    """Raises ValueError if a text is not a SHA-256 hash in hexadecimal digits."""
    if len(bytes.fromhex(text)) != hashlib.sha256().digest_size:
        raise ValueError(text)


_VALUES: Mapping[str, tuple[Callable[[str], object], str]] = {
    "--before": (date.fromisoformat, "BEFORE must be a date such as 2026-01-31"),
    "--head": (_parse_hash, "HEAD must be the hash of a seal, 64 hexadecimal digits, as audit-verify prints it"),
}
"""The parser of each option's value, and the rule for the variable of the Makefile."""


def main(arguments: Sequence[str]) -> None:
    """Runs the command and exits with its status, or with a one-line error for a wrong argument or a stopped system."""
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
        _check_options(options)
        sys.exit(max([_run(operation, options) for operation in operations.values()]))
    except StartError as error:
        sys.exit(str(error))


def _check_options(options: Sequence[str]) -> None:
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
    environment = os.environ | _build_environment(operation, data)
    arguments = [argument.replace("{data}", str(data)) for argument in operation.arguments]
    command = [sys.executable, "-m", operation.module, *arguments, *options]
    return subprocess.run(command, env=environment, check=False).returncode


def _build_environment(operation: Operation, folder: Path) -> dict[str, str]:
    """Returns the environment of the command. Raises StartError if its database cannot be reached."""
    files = {variable: folder / "secrets" / name for variable, name in operation.secrets.items()}
    try:
        database = urlsplit(files["PULSETRACK_DATABASE_URL"].read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        raise StartError(f"The data folder {folder} has no system. Start one with `make up`.") from None
    except OSError as error:
        raise StartError(f"The data folder {folder} cannot be used: {error.strerror}.") from None
    address = (database.hostname or "", database.port or _POSTGRES_PORT)
    try:
        socket.create_connection(address, _CONNECT_SECONDS).close()
    except OSError:
        raise StartError(
            f"The database in the data folder {folder} does not respond. Start the system first."
        ) from None
    return {f"{variable}_FILE": str(path) for variable, path in files.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
