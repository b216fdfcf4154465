"""Fixtures for tests of the shared code. They run on billing, the simplest service."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

import grpc
import pytest

from services.common.postgres.migrate import migrate
from services.common.rpc.tokens import TokenVerifier
from tests.conftest import Serve
from tests.harness.background import Background
from tests.harness.client import Client
from tests.harness.services import serve_service
from tests.harness.tokens import Signer
from tools.local.part import RunningPart
from tools.local.postgres import Postgres
from tools.ports import free_port


@pytest.fixture(scope="session")
def service_name() -> str:
    return "billing"


@pytest.fixture(scope="session")
def serve() -> Serve:
    def serve(url: str, verifier: TokenVerifier) -> AbstractAsyncContextManager[int]:
        return serve_service("billing", url, verifier)

    return serve


@pytest.fixture(scope="module")
def anonymous(grpc_channel: grpc.Channel) -> Client:
    """A client of billing without a token."""
    return Client(grpc_channel, "billing")


@pytest.fixture(scope="module")
def billing(anonymous: Client, signer: Signer) -> Client:
    """A client of billing with a user's token."""
    return anonymous.with_token(signer.long_lived_token("USER"))


class StoppableDatabase:
    """Billing's database on its own Postgres server, which tests stop and restart."""

    def __init__(self, background: Background, running: RunningPart, url: str) -> None:
        self._background = background
        self._running = running
        self.url = url

    def kill(self) -> None:
        """Kills the server and its connections."""
        self._background.run(self._running.kill())

    def start(self) -> None:
        """Starts the server, if it is stopped, and waits until it is ready."""
        if not self._running.is_running:
            self._background.run(self._running.start())


@pytest.fixture(scope="session")
def database_server(background: Background, tmp_path_factory: pytest.TempPathFactory) -> StoppableDatabase:
    folder = tmp_path_factory.mktemp("stoppable")
    server = Postgres(folder / "data", free_port(), "a password", {"fsync": "off"})
    running = background.enter(RunningPart(server.part("stoppable"), folder))
    migrate("billing", server.url())
    return StoppableDatabase(background, running, server.url())


@pytest.fixture
def stoppable_database(database_server: StoppableDatabase) -> Iterator[StoppableDatabase]:
    """The stoppable database. It runs before and after each test."""
    yield database_server
    database_server.start()
