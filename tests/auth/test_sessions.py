"""ListSessions, RevokeSessions and their counterparts for admins, and what the end of a session revokes."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import (
    GetCurrentUserRequest,
    GetTrustBundleRequest,
    ListSessionsRequest,
    ListUserSessionsRequest,
    LogoutRequest,
    RefreshTokenRequest,
    RevokeSessionsRequest,
    RevokeUserSessionsRequest,
    Session,
    TokenPair,
)
from services.auth.session_store import MAX_ENDED, MAX_SESSIONS
from tests.auth.factory import build_login, build_sign_up, can_refresh, create_session
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.services import serve_auth
from tests.harness.sql import Sql
from tests.harness.waiting import eventually


@pytest.fixture(scope="module")
def auth(background: Background, database_url: str) -> Iterator[Client]:
    """A client without a token. The server reloads ended sessions every 0.2 s."""
    with background.during(serve_auth(database_url, reload_seconds=0.2)) as port, connect(port, "auth") as client:
        yield client


class User:
    """A user with two sessions."""

    def __init__(self, auth: Client) -> None:
        self.new = build_sign_up()
        self.id: str = auth.sign_up(self.new).id
        self.tokens: list[TokenPair] = [auth.login(build_login(self.new)) for _ in range(2)]
        self.clients = [auth.with_token(tokens.access_token) for tokens in self.tokens]


@pytest.fixture
def user(auth: Client) -> User:
    return User(auth)


def list_sessions(client: Client) -> list[Session]:
    sessions: list[Session] = client.list_sessions(ListSessionsRequest()).sessions
    return sessions


def list_all_sessions(client: Client) -> list[Session]:
    sessions: list[Session] = client.list_sessions(ListSessionsRequest(page_size=1000)).sessions
    return sessions


def is_accepted(client: Client) -> bool:
    """Returns whether an access token is accepted."""
    response = attempt(lambda: client.get_current_user(GetCurrentUserRequest()))
    if isinstance(response, Rejected):
        assert (response.code, response.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    return not isinstance(response, Rejected)


def test_login_begins_a_session(user: User) -> None:
    newest, oldest = list_sessions(user.clients[1])
    assert (newest.current, oldest.current) == (True, False)
    assert newest.create_time is not None
    assert oldest.create_time is not None
    assert newest.create_time > oldest.create_time
    assert newest.remote_address == "127.0.0.1"
    assert newest.user_agent.startswith("grpc-python/")


def test_refresh_extends_the_session(auth: Client, user: User) -> None:
    before = list_sessions(user.clients[0])[1]
    refreshed = auth.refresh_token(RefreshTokenRequest(refresh_token=user.tokens[0].refresh_token))
    after = list_sessions(auth.with_token(refreshed.access_token))[1]
    assert (after.id, after.create_time, after.current) == (before.id, before.create_time, True)
    assert after.last_use_time is not None
    assert before.last_use_time is not None
    assert after.last_use_time > before.last_use_time


def test_sessions_are_paged(user: User) -> None:
    first = user.clients[0].list_sessions(ListSessionsRequest(page_size=1))
    second = user.clients[0].list_sessions(ListSessionsRequest(page_size=1, page_token=first.next_page_token))
    assert [*first.sessions, *second.sessions] == list_sessions(user.clients[0])
    assert second.next_page_token == ""


def test_sessions_of_others_are_not_listed(auth: Client, user: User) -> None:
    other = auth.with_token(create_session(auth).access_token)
    assert {each.id for each in list_sessions(other)}.isdisjoint(each.id for each in list_sessions(user.clients[0]))


def test_expired_session_is_not_listed(user: User, sql: Sql) -> None:
    [current, other] = list_sessions(user.clients[1])
    sql("UPDATE sessions SET expire_time = now() WHERE id = $1", other.id)
    assert [each.id for each in list_sessions(user.clients[1])] == [current.id]


def end_one(user: User, _: Client) -> None:
    other = next(each for each in list_sessions(user.clients[1]) if not each.current)
    assert user.clients[1].revoke_sessions(RevokeSessionsRequest(session_id=other.id)).revoked_count == 1


def end_others(user: User, _: Client) -> None:
    assert user.clients[1].revoke_sessions(RevokeSessionsRequest()).revoked_count == 1


def end_one_as_admin(user: User, admin: Client) -> None:
    listed = admin.list_user_sessions(ListUserSessionsRequest(user_id=user.id)).sessions
    request = RevokeUserSessionsRequest(user_id=user.id, session_id=listed[1].id)
    assert admin.revoke_user_sessions(request).revoked_count == 1


def log_out(user: User, admin: Client) -> None:
    admin.logout(LogoutRequest(refresh_token=user.tokens[0].refresh_token))


def reuse_token(user: User, admin: Client) -> None:
    request = RefreshTokenRequest(refresh_token=user.tokens[0].refresh_token)
    user.tokens[0] = admin.refresh_token(request)
    assert isinstance(attempt(lambda: admin.refresh_token(request)), Rejected)


@pytest.mark.parametrize("end", [end_one, end_others, end_one_as_admin, log_out, reuse_token])
def test_tokens_of_one_ended_session_are_rejected(auth: Client, admin: Client, user: User, end: Any) -> None:
    end(user, admin)
    assert not can_refresh(auth, user.tokens[0])
    eventually(lambda: not is_accepted(user.clients[0]))
    assert is_accepted(user.clients[1])
    assert can_refresh(auth, user.tokens[1])


def test_tokens_of_all_sessions_are_rejected_with_the_current(auth: Client, user: User) -> None:
    assert user.clients[1].revoke_sessions(RevokeSessionsRequest(include_current=True)).revoked_count == 2
    assert not any(can_refresh(auth, tokens) for tokens in user.tokens)
    eventually(lambda: not any(is_accepted(client) for client in user.clients))


def test_admin_ends_all_sessions_of_a_user(auth: Client, admin: Client, user: User) -> None:
    assert admin.revoke_user_sessions(RevokeUserSessionsRequest(user_id=user.id)).revoked_count == 2
    assert not any(can_refresh(auth, tokens) for tokens in user.tokens)
    assert admin.list_user_sessions(ListUserSessionsRequest(user_id=user.id)).sessions == []


def test_session_of_another_user_cannot_be_ended(auth: Client, user: User) -> None:
    other = auth.with_token(create_session(auth).access_token)
    [session] = list_sessions(other)
    rejected = attempt(lambda: user.clients[0].revoke_sessions(RevokeSessionsRequest(session_id=session.id)))
    assert (rejected.code, rejected.reason) == (StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    assert list_sessions(other) == [session]


def test_session_that_ended_cannot_be_ended_again(admin: Client, user: User) -> None:
    session = list_sessions(user.clients[1])[1]
    request = RevokeUserSessionsRequest(user_id=user.id, session_id=session.id)
    admin.revoke_user_sessions(request)
    assert attempt(lambda: admin.revoke_user_sessions(request)).reason == "SESSION_NOT_FOUND"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("list_user_sessions", ListUserSessionsRequest(user_id=str(uuid4()))),
        ("revoke_user_sessions", RevokeUserSessionsRequest(user_id=str(uuid4()))),
    ],
)
def test_sessions_of_an_unknown_user_are_not_found(admin: Client, method: str, request_: Any) -> None:
    rejected = attempt(lambda: getattr(admin, method)(request_))
    assert (rejected.code, rejected.reason) == (StatusCode.NOT_FOUND, "USER_NOT_FOUND")


def test_session_of_the_previous_version_is_extended(auth: Client, user: User, sql: Sql) -> None:
    sql("DELETE FROM sessions WHERE user_id = $1", user.id)
    refreshed = auth.refresh_token(RefreshTokenRequest(refresh_token=user.tokens[0].refresh_token))
    [session] = list_sessions(auth.with_token(refreshed.access_token))
    assert session.current


def test_bundle_lists_an_ended_session_until_its_tokens_have_expired(auth: Client, user: User, sql: Sql) -> None:
    [session, _] = list_sessions(user.clients[1])

    def is_listed() -> bool:
        return session.id in auth.get_trust_bundle(GetTrustBundleRequest()).ended_session_ids

    assert not is_listed()
    end = "UPDATE sessions SET end_time = now() - $2 * interval '1 s' WHERE id = $1"
    sql(end, session.id, 900)
    eventually(is_listed)
    sql(end, session.id, 1080)
    eventually(lambda: not is_listed())


def test_login_above_the_limit_ends_the_oldest_session(auth: Client, user: User, sql: Sql) -> None:
    sql(
        "WITH added AS (INSERT INTO sessions (id, user_id, expire_time)"
        " SELECT gen_random_uuid(), $1, now() + interval '1 d' FROM generate_series(1, $2::int)"
        " RETURNING id, expire_time)"
        " INSERT INTO refresh_tokens (digest, family_id, user_id, expire_time)"
        " SELECT sha256(id::text::bytea), id, $1, expire_time FROM added",
        user.id,
        MAX_SESSIONS - 1,
    )
    newest = auth.login(build_login(user.new))
    assert len(list_all_sessions(auth.with_token(newest.access_token))) == MAX_SESSIONS
    [tokens] = sql("SELECT count(DISTINCT family_id) FROM refresh_tokens WHERE user_id = $1", user.id)
    assert tokens["count"] == MAX_SESSIONS
    assert not can_refresh(auth, user.tokens[0])


def test_bundle_fits_a_message_whatever_number_of_sessions_ended(auth: Client, user: User, sql: Sql) -> None:
    sql(
        "INSERT INTO sessions (id, user_id, expire_time, end_time) SELECT gen_random_uuid(), $1, now(), now()"
        " FROM generate_series(1, 120000)",
        user.id,
    )

    def count_ended() -> int:
        return len(auth.get_trust_bundle(GetTrustBundleRequest()).ended_session_ids)

    eventually(lambda: count_ended() == MAX_ENDED)
    sql("DELETE FROM sessions WHERE user_id = $1 AND expire_time = end_time", user.id)
    eventually(lambda: count_ended() < MAX_ENDED)
