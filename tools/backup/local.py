"""The databases of a local system: those of a running or a stopped instance, or those of an instance to be created."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from deploy.databases import Passwords, owner_url
from deploy.errors import StartError
from deploy.settings import EMBEDDED, Settings
from deploy.topology import TOPOLOGY
from tools.backup.databases import Client, create_client
from tools.local.data_folder import DataFolder, State
from tools.local.part import RunningPart
from tools.local.postgres import Postgres, find_programs
from tools.ports import reserve_free_port


@asynccontextmanager
async def open_databases(settings: Settings) -> AsyncIterator[Mapping[str, Client]]:
    """Yields clients of an instance's databases. Starts Postgres if the instance is not running.

    Raises StartError.
    """
    state = State.read(settings.data_dir)
    if state is None:
        raise StartError(f"The data folder {settings.data_dir} has no system. Start one with `make up`.")
    supervisor = state.processes.get("supervisor")
    if supervisor and supervisor.process():
        yield {name: create_client(url, find_programs(None)) for name, url in _read_urls(settings).items()}
        return
    with DataFolder.lock(settings.data_dir) as folder:
        folder.stop_leftovers()
        async with run_server(settings, folder) as server:
            passwords = read_passwords(folder)
            urls = {name: owner_url(server, name, passwords[name]) for name in passwords}
            yield {name: create_client(url, find_programs(None)) for name, url in urls.items()}


@asynccontextmanager
async def run_server(settings: Settings, folder: DataFolder) -> AsyncIterator[str]:
    """Yields the URL of a server with a role that can create databases: an embedded one, or that of the settings."""
    if settings.database_url != EMBEDDED:
        yield settings.database_url
        return
    with reserve_free_port() as reservation:
        password = folder.secret("postgres-password").read_text(encoding="utf-8")
        postgres = Postgres(folder.path / "postgres", reservation.port, password)
        async with RunningPart(postgres.part(), folder.logs):
            yield postgres.url()


def read_passwords(folder: DataFolder) -> Mapping[str, Passwords]:
    """Returns the passwords of the databases' roles by service. Creates those that are missing."""
    return {
        service.name: Passwords(
            folder.secret(service.database_secrets.password).read_text(encoding="utf-8"),
            folder.secret(service.database_secrets.owner_password).read_text(encoding="utf-8"),
        )
        for service in TOPOLOGY.values()
    }


def _read_urls(settings: Settings) -> Mapping[str, str]:
    folder = settings.data_dir / "secrets"
    try:
        return {
            service.name: (folder / service.database_secrets.owner_url).read_text(encoding="utf-8")
            for service in TOPOLOGY.values()
        }
    except OSError as error:
        raise StartError(f"The secrets in {folder} cannot be read: {error.strerror}.") from None
