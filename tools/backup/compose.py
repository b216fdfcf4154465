"""The databases of the Compose deployment. Postgres' programs run in its container."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from deploy.compose import engine
from deploy.compose.secrets import Secrets
from deploy.errors import StartError
from deploy.topology import MIGRATIONS, TOPOLOGY, database_name, owner_name
from services.patient.erasure_list import ErasureList
from tools.backup.databases import PROGRAMS, UNLIMITED, Client, load_database
from tools.backup.folder import Backup
from tools.backup.restore import find_secrets


@asynccontextmanager
async def open_databases(environment: Mapping[str, str]) -> AsyncIterator[Mapping[str, Client]]:
    """Yields clients of the databases. Starts Postgres if it is not running, and stops it at the end.

    Raises StartError.
    """
    is_running = bool(engine.read_compose("ps", "--quiet", "postgres", environment=environment).strip())
    if not is_running:
        if not _list_volumes(environment):
            raise StartError("There is no database. Start the system with `make compose`.")
        engine.compose("up", "--detach", "--wait", "postgres", environment=environment)
    try:
        yield {service: _create_client(service, environment) for service in TOPOLOGY}
    finally:
        if not is_running:
            engine.compose("stop", "postgres", environment=environment)


def restore_backup(
    environment: Mapping[str, str],
    secrets: Secrets,
    backup: Backup,
    erasures: ErasureList | None,
    secrets_file: Path | None,
) -> None:
    """Restores a backup into new volumes, which are deleted if that fails, and adds newer erasures.

    Raises StartError.
    """
    if volumes := _list_volumes(environment):
        raise StartError(f"The volume {volumes[0]} already exists. Set COMPOSE_PROJECT_NAME to a new name.")
    if not secrets.are_new():
        raise StartError(f"{secrets.folder} already has secrets. Set PULSETRACK_DATA_DIR to a new folder.")
    secrets.restore(find_secrets(backup, secrets_file))
    engine.compose("build", environment=environment)
    try:
        engine.compose("up", "--detach", "--wait", "postgres", environment=environment)
        engine.compose("run", "--rm", "databases", environment=environment)
        for dump in backup.manifest.databases:
            load_database(_create_client(dump.service, environment), backup, dump)
            migration = (f"{dump.service}-migrations", MIGRATIONS, dump.service, "--restored")
            engine.compose("run", "--rm", *migration, environment=environment)
        if erasures:
            command = ("patient-migrations", "services.patient.erasure_list", "import")
            text = msgspec.json.encode(erasures).decode()
            engine.compose("run", "--rm", "--no-TTY", *command, environment=environment, text=text)
        engine.compose("stop", environment=environment)
    except BaseException:
        engine.compose("down", "--volumes", environment=environment)
        secrets.delete()
        raise


def _create_client(service: str, environment: Mapping[str, str]) -> Client:
    execute = ("docker", "compose", "exec", "-T", "--env", f"PGOPTIONS={UNLIMITED}", "postgres")
    connect = ("--username=postgres", f"--dbname={database_name(service)}")
    return Client(
        commands={program: (*execute, program, *connect) for program in PROGRAMS},
        environment=environment,
        role=owner_name(service),
    )


def _list_volumes(environment: Mapping[str, str]) -> list[str]:
    """Returns the names of the volumes that exist."""
    config = json.loads(engine.read_compose("config", "--format", "json", environment=environment))
    return [name for volume in config["volumes"].values() if engine.has_volume(name := volume["name"])]
