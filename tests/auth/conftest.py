"""An auth server that verifies its own tokens, and clients of it."""

from contextlib import AbstractAsyncContextManager

import grpc
import pytest

from gen.pulsetrack.auth.v1 import LoginRequest
from services.auth.mail_settings import MailConfig
from services.common.rpc.tokens import TokenVerifier
from tests.auth.second_factors import Person
from tests.conftest import Serve
from tests.harness.background import Background
from tests.harness.client import Client
from tests.harness.mail import Mailbox, serve_mail
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD, serve_auth
from tests.harness.sql import Sql


@pytest.fixture(scope="session")
def service_name() -> str:
    return "auth"


@pytest.fixture(scope="session")
def mailbox(background: Background) -> Mailbox:
    """A mail server."""
    return background.enter(serve_mail())


@pytest.fixture(scope="module")
def mail_config() -> MailConfig | None:
    """How the server sends mail: not at all, unless a module overrides this fixture."""
    return None


@pytest.fixture(scope="module")
def serve(mail_config: MailConfig | None) -> Serve:
    def serve(url: str, _: TokenVerifier) -> AbstractAsyncContextManager[int]:
        return serve_auth(url, mail=mail_config)

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
