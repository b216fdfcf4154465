"""Logout."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, LogoutRequest, RefreshTokenRequest
from services.auth.tokens import hash_refresh_token
from tests.auth.factory import build_login, can_refresh, create_session, create_user
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.waiting import eventually


def test_a_session_does_not_go_on_after_its_end(auth: Client) -> None:
    session = create_session(auth)
    assert auth.logout(LogoutRequest(refresh_token=session.refresh_token)) == Empty()
    assert not can_refresh(auth, session)


def test_an_old_token_of_the_session_ends_it_too(auth: Client) -> None:
    first = create_session(auth)
    second = auth.refresh_token(RefreshTokenRequest(refresh_token=first.refresh_token))
    auth.logout(LogoutRequest(refresh_token=first.refresh_token))
    assert not can_refresh(auth, second)


def test_a_session_ends_although_it_is_just_going_on(auth: Client, sql: Sql) -> None:
    session = create_session(auth)
    row = "SELECT FROM refresh_tokens WHERE digest = $1 FOR UPDATE"
    with ThreadPoolExecutor() as callers:
        with sql.hold_locks(row, hash_refresh_token(session.refresh_token)):
            going_on = callers.submit(auth.refresh_token, RefreshTokenRequest(refresh_token=session.refresh_token))
            eventually(lambda: sql.count_waiting() == 1)
            ending = callers.submit(auth.logout, LogoutRequest(refresh_token=session.refresh_token))
            eventually(lambda: sql.count_waiting() == 2)
        ending.result()
    assert not can_refresh(auth, going_on.result())


def test_the_users_other_sessions_go_on(auth: Client) -> None:
    new = create_user(auth)
    one, other = auth.login(build_login(new)), auth.login(build_login(new))
    auth.logout(LogoutRequest(refresh_token=one.refresh_token))
    assert can_refresh(auth, other)


def test_an_access_token_lives_until_it_expires(auth: Client) -> None:
    session = create_session(auth)
    auth.logout(LogoutRequest(refresh_token=session.refresh_token))
    assert auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest())


def test_an_end_may_be_asked_for_again(auth: Client) -> None:
    session = create_session(auth)
    for _ in range(2):
        assert auth.logout(LogoutRequest(refresh_token=session.refresh_token)) == Empty()


def test_the_end_of_an_unknown_session_succeeds(auth: Client) -> None:
    assert auth.logout(LogoutRequest(refresh_token="nobody issued it")) == Empty()


@pytest.mark.parametrize("token", ["", "x" * 513])
def test_a_token_that_is_empty_or_too_long_is_named(auth: Client, token: str) -> None:
    with pytest.raises(Rejected) as refused:
        auth.logout(LogoutRequest(refresh_token=token))
    assert list(refused.value.violations) == ["refresh_token"]
