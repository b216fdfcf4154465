"""An auth server that verifies its own tokens, and clients of it."""

from contextlib import AbstractAsyncContextManager

import grpc
import pytest

from gen.pulsetrack.auth.v1 import LoginRequest
from services.common.rpc.tokens import TokenVerifier
from tests.auth.second_factors import Person
from tests.conftest import Serve
from tests.harness.client import Client
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD, serve_auth
from tests.harness.sql import Sql


@pytest.fixture(scope="session")
def service_name() -> str:
    return "auth"


@pytest.fixture(scope="session")
def serve() -> Serve:
    def serve(url: str, _: TokenVerifier) -> AbstractAsyncContextManager[int]:
        return serve_auth(url)

    return serve


@pytest.fixture(scope="module")
def auth(grpc_channel: grpc.Channel) -> Client:
    """A client without a token."""
    return Client(grpc_channel, "auth")


@pytest.fixture(scope="module")
def admin(auth: Client) -> Client:
    """A client with a token of the first admin."""
    return auth.with_token(auth.login(LoginRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD)).access_token)


@pytest.fixture
def newcomer(auth: Client, sql: Sql) -> Person:
    """A user without a second factor."""
    return Person(auth, sql)


@pytest.fixture
def person(newcomer: Person) -> Person:
    """A user with a second factor."""
    newcomer.enroll()
    newcomer.confirm()
    return newcomer
