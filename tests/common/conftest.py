"""Billing, the simplest of the services, as an example of what all have in common."""

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
def nobody(grpc_channel: grpc.Channel) -> Client:
    """Somebody who calls billing without a token."""
    return Client(grpc_channel, "billing")


@pytest.fixture(scope="module")
def billing(nobody: Client, signer: Signer) -> Client:
    """A user who calls billing."""
    return nobody.with_token(signer.long_lived_token("USER"))


class Frail:
    """Billing's database on a Postgres server of its own, which may be killed and started again."""

    def __init__(self, background: Background, running: RunningPart, url: str) -> None:
        self._background = background
        self._running = running
        self.url = url

    def kill(self) -> None:
        """Kills the server, with its connections."""
        self._background.run(self._running.kill())

    def start(self) -> None:
        """Starts the server, unless it runs, and waits until it serves."""
        if not self._running.is_running:
            self._background.run(self._running.start())


@pytest.fixture(scope="session")
def frail_server(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Frail:
    folder = tmp_path_factory.mktemp("frail")
    server = Postgres(folder / "data", free_port(), "a password", {"fsync": "off"})
    running = background.enter(RunningPart(server.part("frail"), folder))
    migrate("billing", server.url())
    return Frail(background, running, server.url())


@pytest.fixture
def frail(frail_server: Frail) -> Iterator[Frail]:
    """The frail database, which runs before and after each test."""
    yield frail_server
    frail_server.start()
