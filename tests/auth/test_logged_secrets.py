"""The logs of auth contain no secrets."""

import logging
from collections.abc import Callable, Iterator

import pytest

from gen.pulsetrack.auth.v1 import (
    GetCurrentUserRequest,
    GetJwksRequest,
    IssueServiceTokenRequest,
    LogoutRequest,
    RefreshTokenRequest,
    TokenPair,
)
from tests.auth.factory import build_login, build_sign_up, create_user
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.services import CLIENT_ID, CLIENT_SECRET, PASSPHRASE, serve_auth
from tests.harness.sql import Sql

GUESS = "a guess of a secret"


@pytest.fixture
def url(new_database: Callable[[str], str]) -> str:
    """A separate database, which the test may break."""
    return new_database("auth")


@pytest.fixture
def read_log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Returns all log records of any level, including every attribute that a formatter could print."""
    with caplog.at_level(logging.DEBUG):
        yield lambda: "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)])


def test_no_call_logs_a_secret(background: Background, url: str, read_log: Callable[[], str]) -> None:
    with background.during(serve_auth(url)) as port, connect(port, "auth") as auth:
        secrets = [*call_with_valid_secrets(auth), *call_with_invalid_secrets(auth)]
    assert "INVALID_CREDENTIALS" in read_log()
    assert_none_in(secrets, read_log())


def test_internal_errors_log_no_secret(background: Background, url: str, read_log: Callable[[], str]) -> None:
    with background.during(serve_auth(url)) as port, connect(port, "auth") as auth:
        new = create_user(auth)
        session = auth.login(build_login(new))
        refresh = RefreshTokenRequest(refresh_token=session.refresh_token)
        for statement in ("ALTER TABLE users RENAME TO gone", "ALTER TABLE refresh_tokens RENAME TO lost"):
            Sql(background, url)(statement)
        for call in (
            lambda: auth.login(build_login(new)),
            lambda: auth.sign_up(build_sign_up()),
            lambda: auth.refresh_token(refresh),
            lambda: auth.logout(LogoutRequest(refresh_token=session.refresh_token)),
            lambda: auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest()),
        ):
            assert attempt(call).reason == "INTERNAL"
    assert "UndefinedTableError" in read_log()
    assert_none_in([new.password, *list_tokens(session)], read_log())


def call_with_valid_secrets(auth: Client) -> list[str]:
    """Calls the RPCs successfully, and returns the secrets in requests and responses."""
    new = create_user(auth)
    first: TokenPair = auth.login(build_login(new))
    second: TokenPair = auth.refresh_token(RefreshTokenRequest(refresh_token=first.refresh_token))
    auth.with_token(second.access_token).get_current_user(GetCurrentUserRequest())
    auth.logout(LogoutRequest(refresh_token=second.refresh_token))
    auth.get_jwks(GetJwksRequest())
    issued = auth.issue_service_token(IssueServiceTokenRequest(client_id=CLIENT_ID, client_secret=CLIENT_SECRET))
    return [new.password, *list_tokens(first), *list_tokens(second), CLIENT_SECRET, issued.access_token, PASSPHRASE]


def call_with_invalid_secrets(auth: Client) -> list[str]:
    """Makes calls that are rejected, and returns the secrets in their requests."""
    new = create_user(auth)
    session: TokenPair = auth.login(build_login(new))
    used = RefreshTokenRequest(refresh_token=session.refresh_token)
    auth.refresh_token(used)
    for call in (
        lambda: auth.sign_up(new),
        lambda: auth.sign_up(build_sign_up(email=GUESS)),
        lambda: auth.login(build_login(new, password=GUESS)),
        lambda: auth.login(build_login(new, email="\x00")),
        lambda: auth.refresh_token(used),
        lambda: auth.refresh_token(RefreshTokenRequest(refresh_token=GUESS)),
        lambda: auth.with_token(GUESS).get_current_user(GetCurrentUserRequest()),
        lambda: auth.issue_service_token(IssueServiceTokenRequest(client_id=CLIENT_ID, client_secret=GUESS)),
    ):
        assert isinstance(attempt(call), Rejected)
    return [new.password, GUESS, *list_tokens(session)]


def list_tokens(session: TokenPair) -> list[str]:
    return [session.access_token, session.refresh_token]


def assert_none_in(secrets: list[str], text: str) -> None:
    """Asserts that a text contains neither a secret nor its last 16 characters."""
    for secret in secrets:
        assert secret[-16:] not in text
