"""Fixtures with real servers: one Postgres and one broker per session, a database and a gRPC server per module."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from services.common.postgres.migrate import grant_privileges, migrate
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.broker import Broker
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tools.local.part import RunningPart
from tools.local.postgres import Postgres
from tools.local.system import build_broker
from tools.ports import free_port

Serve = Callable[[str, TokenVerifier], AbstractAsyncContextManager[int]]
"""Runs a service on a database and yields its port."""

# Imported after tests/__init__.py.
pytest_plugins = ["pytest_grpc.plugin", "tests.harness.scheduling", "tests.harness.system"]

_OPTIONS = {"fsync": "off", "timezone": "Asia/Kolkata"}  # not UTC, to detect code that relies on UTC


@pytest.fixture(scope="session")
def background() -> Iterator[Background]:
    """An event loop for servers, which runs until the end of the session."""
    with Background() as background:
        yield background


@pytest.fixture(scope="session")
def postgres(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Postgres:
    """A Postgres server."""
    folder = tmp_path_factory.mktemp("postgres")
    server = Postgres(folder / "data", free_port(), secrets.token_urlsafe(), _OPTIONS)
    background.enter(RunningPart(server.part(), folder))
    return server


@pytest.fixture(scope="session")
def broker(background: Background, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Kafka-protocol broker, by its bootstrap address."""
    port = free_port()
    background.enter(RunningPart(build_broker(port), tmp_path_factory.mktemp("broker")))
    return f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def own_broker(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker for this module, which tests can kill and restart."""
    broker = Broker(background, tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def new_database(postgres: Postgres, background: Background) -> Callable[[str], str]:
    """Returns a function that creates a migrated database of a service and returns its URL."""
    templates: dict[str, str] = {}

    async def create(name: str, template: str) -> None:
        connection = await asyncpg.connect(postgres.url())
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        await connection.close()

    async def create_role(service: str, url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(f"CREATE ROLE {role_of(service)}")
        await connection.close()
        await grant_privileges(service, url, role_of(service))

    def new(service: str) -> str:
        if service not in templates:
            templates[service] = f"{service}_template"
            background.run(create(templates[service], "template1"))
            migrate(service, postgres.url(templates[service]))
            background.run(create_role(service, postgres.url(templates[service])))
        name = f"{service}_{secrets.token_hex(4)}"
        background.run(create(name, templates[service]))
        return postgres.url(name)

    return new


@pytest.fixture(scope="session")
def signer() -> Signer:
    """Signs tokens that the services under test accept."""
    return Signer()


@pytest.fixture(scope="module")
def database_url(new_database: Callable[[str], str], service_name: str) -> str:
    """A database for this module, of the service `service_name`."""
    return new_database(service_name)


@pytest.fixture(scope="module")
def sql(background: Background, database_url: str) -> Sql:
    """Runs SQL in that database."""
    return Sql(background, database_url)


@pytest.fixture(scope="module")
def grpc_server(
    background: Background, serve: Serve, database_url: str, service_name: str, signer: Signer
) -> Iterator[int]:
    """Replaces the fixture of pytest-grpc: a real grpc.aio server that uses the database role of the service."""
    url = f"{database_url}?role={role_of(service_name)}"
    with background.during(serve(url, TokenVerifier(signer.trust))) as port:
        yield port


def role_of(service: str) -> str:
    """Returns the name of the database role of a service."""
    return f"{service}_service"


@pytest.fixture(scope="module")
def grpc_addr(grpc_server: int) -> str:
    """Replaces the fixture of pytest-grpc: the address of the server."""
    return f"127.0.0.1:{grpc_server}"
