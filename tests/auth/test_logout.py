"""Logout."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import LogoutRequest, RefreshTokenRequest
from services.auth.opaque_tokens import hash_token
from tests.auth.factory import build_login, can_refresh, create_session, create_user
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.waiting import eventually


def test_logout_ends_the_session(auth: Client) -> None:
    session = create_session(auth)
    assert auth.logout(LogoutRequest(refresh_token=session.refresh_token)) == Empty()
    assert not can_refresh(auth, session)


def test_used_refresh_token_can_end_the_session(auth: Client) -> None:
    first = create_session(auth)
    second = auth.refresh_token(RefreshTokenRequest(refresh_token=first.refresh_token))
    auth.logout(LogoutRequest(refresh_token=first.refresh_token))
    assert not can_refresh(auth, second)


def test_logout_ends_a_session_during_a_concurrent_refresh(auth: Client, sql: Sql) -> None:
    session = create_session(auth)
    row = "SELECT FROM refresh_tokens WHERE digest = $1 FOR UPDATE"
    with ThreadPoolExecutor() as callers:
        with sql.hold_locks(row, hash_token(session.refresh_token)):
            refreshing = callers.submit(auth.refresh_token, RefreshTokenRequest(refresh_token=session.refresh_token))
            eventually(lambda: sql.count_waiting() == 1)
            logging_out = callers.submit(auth.logout, LogoutRequest(refresh_token=session.refresh_token))
            eventually(lambda: sql.count_waiting() == 2)
        logging_out.result()
    assert not can_refresh(auth, refreshing.result())


def test_other_sessions_of_the_user_are_unaffected(auth: Client) -> None:
    new = create_user(auth)
    one, other = auth.login(build_login(new)), auth.login(build_login(new))
    auth.logout(LogoutRequest(refresh_token=one.refresh_token))
    assert can_refresh(auth, other)


def test_logout_is_idempotent(auth: Client) -> None:
    session = create_session(auth)
    for _ in range(2):
        assert auth.logout(LogoutRequest(refresh_token=session.refresh_token)) == Empty()


def test_logout_of_an_unknown_session_succeeds(auth: Client) -> None:
    assert auth.logout(LogoutRequest(refresh_token="an unknown token")) == Empty()


@pytest.mark.parametrize("token", ["", "x" * 513])
def test_empty_or_overlong_token_is_reported(auth: Client, token: str) -> None:
    with pytest.raises(Rejected) as rejected:
        auth.logout(LogoutRequest(refresh_token=token))
    assert list(rejected.value.violations) == ["refresh_token"]
