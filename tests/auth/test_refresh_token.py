"""RefreshToken."""

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, RefreshTokenRequest, TokenPair, User
from services.auth.tokens import hash_refresh_token
from tests.auth.factory import build_login, can_refresh, create_session, create_user
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.services import LIFETIMES
from tests.harness.sql import Sql


def test_a_session_goes_on_with_new_tokens_of_the_same_user(auth: Client) -> None:
    first = create_session(auth)
    second = refreshed(auth, first)
    assert second.refresh_token != first.refresh_token
    assert (second.token_type, second.expires_in) == ("Bearer", LIFETIMES.access_token)
    assert whose(auth, second) == whose(auth, first)


def test_a_session_goes_on_many_times(auth: Client) -> None:
    session = create_session(auth)
    for _ in range(5):
        session = refreshed(auth, session)
    assert can_refresh(auth, session)


def test_a_token_is_good_once(auth: Client) -> None:
    first = create_session(auth)
    refreshed(auth, first)
    with pytest.raises(Rejected) as refused:
        refreshed(auth, first)
    assert (refused.value.code, refused.value.reason) == (StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_INVALID")


def test_the_reuse_of_a_token_ends_the_session_for_whoever_holds_its_newest(auth: Client) -> None:
    first = create_session(auth)
    second = refreshed(auth, first)
    third = refreshed(auth, second)
    assert not can_refresh(auth, first)
    assert not can_refresh(auth, third)
    assert not can_refresh(auth, second)


def test_the_reuse_of_a_token_leaves_the_users_other_sessions(auth: Client) -> None:
    new = create_user(auth)
    one, other = auth.login(build_login(new)), auth.login(build_login(new))
    refreshed(auth, one)
    assert not can_refresh(auth, one)
    assert can_refresh(auth, other)


def test_an_expired_token_is_refused(auth: Client, sql: Sql) -> None:
    session = create_session(auth)
    sql("UPDATE refresh_tokens SET expire_time = now() WHERE digest = $1", hash_refresh_token(session.refresh_token))
    assert not can_refresh(auth, session)


@pytest.mark.parametrize("token", ["x", "\x00", "\u00e9" * 512, "eyJhbGciOiJub25lIn0.e30."])
def test_a_token_that_nobody_issued_is_refused(auth: Client, token: str) -> None:
    assert not can_refresh(auth, TokenPair(refresh_token=token))


def test_an_access_token_is_no_refresh_token(auth: Client) -> None:
    assert not can_refresh(auth, TokenPair(refresh_token=create_session(auth).access_token))


@pytest.mark.parametrize("token", ["", "x" * 513])
def test_a_token_that_is_empty_or_too_long_is_named(auth: Client, token: str) -> None:
    with pytest.raises(Rejected) as refused:
        auth.refresh_token(RefreshTokenRequest(refresh_token=token))
    assert refused.value.reason == "FIELDS_INVALID"
    assert list(refused.value.violations) == ["refresh_token"]


def test_the_session_of_a_disabled_user_does_not_go_on(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    session = auth.login(build_login(new))
    sql("UPDATE users SET disabled = true WHERE email = $1", new.email)
    with pytest.raises(Rejected) as refused:
        refreshed(auth, session)
    assert (refused.value.code, refused.value.reason) == (StatusCode.PERMISSION_DENIED, "USER_DISABLED")


def test_a_new_role_is_in_the_next_token(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    session = auth.login(build_login(new))
    sql("UPDATE users SET role = 'ADMIN' WHERE email = $1", new.email)
    assert whose(auth, refreshed(auth, session)).role.name == "ADMIN"


def test_of_concurrent_uses_of_one_token_at_most_one_succeeds(auth: Client) -> None:
    session = create_session(auth)
    answers, refusals = call_concurrently([lambda: refreshed(auth, session)] * 8)
    assert len(answers) <= 1
    assert {refusal.reason for refusal in refusals} == {"REFRESH_TOKEN_INVALID"}
    assert not can_refresh(auth, session)


def refreshed(auth: Client, session: TokenPair) -> TokenPair:
    """Goes on with a session."""
    new: TokenPair = auth.refresh_token(RefreshTokenRequest(refresh_token=session.refresh_token))
    return new


def whose(auth: Client, session: TokenPair) -> User:
    """Returns the user whose session it is."""
    user: User = auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest())
    return user
