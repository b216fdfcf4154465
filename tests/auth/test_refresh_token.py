"""RefreshToken."""

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, RefreshTokenRequest, TokenPair, User
from services.auth.opaque_tokens import hash_token
from tests.auth.factory import build_login, can_refresh, create_session, create_user
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently
from tests.harness.services import LIFETIMES
from tests.harness.sql import Sql


def test_refresh_returns_new_tokens_of_the_same_user(auth: Client) -> None:
    first = create_session(auth)
    second = refresh(auth, first)
    assert second.refresh_token != first.refresh_token
    assert (second.token_type, second.expires_in) == ("Bearer", LIFETIMES.access_token)
    assert get_user(auth, second) == get_user(auth, first)


def test_session_can_be_refreshed_repeatedly(auth: Client) -> None:
    session = create_session(auth)
    for _ in range(5):
        session = refresh(auth, session)
    assert can_refresh(auth, session)


def test_refresh_token_can_be_used_once(auth: Client) -> None:
    first = create_session(auth)
    refresh(auth, first)
    with pytest.raises(Rejected) as rejected:
        refresh(auth, first)
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_INVALID")


def test_token_reuse_revokes_the_session(auth: Client) -> None:
    first = create_session(auth)
    second = refresh(auth, first)
    third = refresh(auth, second)
    assert not can_refresh(auth, first)
    assert not can_refresh(auth, third)
    assert not can_refresh(auth, second)


def test_token_reuse_does_not_affect_other_sessions(auth: Client) -> None:
    new = create_user(auth)
    one, other = auth.login(build_login(new)), auth.login(build_login(new))
    refresh(auth, one)
    assert not can_refresh(auth, one)
    assert can_refresh(auth, other)


def test_expired_token_is_rejected(auth: Client, sql: Sql) -> None:
    session = create_session(auth)
    sql("UPDATE refresh_tokens SET expire_time = now() WHERE digest = $1", hash_token(session.refresh_token))
    assert not can_refresh(auth, session)


@pytest.mark.parametrize("token", ["x", "\x00", "\u00e9" * 512, "eyJhbGciOiJub25lIn0.e30."])
def test_unknown_token_is_rejected(auth: Client, token: str) -> None:
    assert not can_refresh(auth, TokenPair(refresh_token=token))


def test_access_token_is_rejected(auth: Client) -> None:
    assert not can_refresh(auth, TokenPair(refresh_token=create_session(auth).access_token))


@pytest.mark.parametrize("token", ["", "x" * 513])
def test_empty_or_overlong_token_is_reported(auth: Client, token: str) -> None:
    with pytest.raises(Rejected) as rejected:
        auth.refresh_token(RefreshTokenRequest(refresh_token=token))
    assert rejected.value.reason == "FIELDS_INVALID"
    assert list(rejected.value.violations) == ["refresh_token"]


def test_session_of_a_disabled_user_cannot_be_refreshed(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    session = auth.login(build_login(new))
    sql("UPDATE users SET disabled = true WHERE email = $1", new.email)
    with pytest.raises(Rejected) as rejected:
        refresh(auth, session)
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.PERMISSION_DENIED, "USER_DISABLED")


def test_next_token_contains_a_new_role(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    session = auth.login(build_login(new))
    sql("UPDATE users SET role = 'ADMIN' WHERE email = $1", new.email)
    assert get_user(auth, refresh(auth, session)).role.name == "ADMIN"


def test_at_most_one_concurrent_use_of_a_token_succeeds(auth: Client) -> None:
    session = create_session(auth)
    responses, rejections = call_concurrently([lambda: refresh(auth, session)] * 8)
    assert len(responses) <= 1
    assert {rejection.reason for rejection in rejections} == {"REFRESH_TOKEN_INVALID"}
    assert not can_refresh(auth, session)


def refresh(auth: Client, session: TokenPair) -> TokenPair:
    """Refreshes a session."""
    new: TokenPair = auth.refresh_token(RefreshTokenRequest(refresh_token=session.refresh_token))
    return new


def get_user(auth: Client, session: TokenPair) -> User:
    """Returns the user of a session."""
    user: User = auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest())
    return user
