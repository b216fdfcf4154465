"""Tests SearchUserAccessEvents and the access events of each auth method."""

from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, ServiceAccessEvent
from gen.pulsetrack.auth.v1 import (
    GetCurrentUserRequest,
    GetJwksRequest,
    ListUsersRequest,
    LoginRequest,
    LogoutRequest,
    RefreshTokenRequest,
    SignUpRequest,
    UpdateUserRequest,
    User,
)
from gen.pulsetrack.options.v1 import Role
from services.common.audit import events as audit_events
from tests.auth.factory import build_create_user, build_login, build_sign_up
from tests.harness.audit import summarize, wait_for_events
from tests.harness.client import Client, Rejected, attempt
from tests.harness.sql import Sql
from tests.harness.waiting import eventually


@pytest.fixture
def new() -> SignUpRequest:
    return build_sign_up()


@pytest.fixture
def user(auth: Client, new: SignUpRequest) -> User:
    """A user who has signed up."""
    user: User = auth.sign_up(new)
    return user


@pytest.fixture
def admin_id(admin: Client) -> str:
    return str(admin.get_current_user(GetCurrentUserRequest()).id)


def find_events(admin: Client, subject_id: str, count: int) -> list[ServiceAccessEvent]:
    """Waits for events about a user and returns them, oldest first."""
    return wait_for_events(admin, "search_user_access_events", count, subject_id=subject_id)


def test_session_records_events_by_and_about_its_user(
    auth: Client, admin: Client, user: User, new: SignUpRequest
) -> None:
    session = auth.login(build_login(new))
    session = auth.refresh_token(RefreshTokenRequest(refresh_token=session.refresh_token))
    auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest())
    auth.logout(LogoutRequest(refresh_token=session.refresh_token))
    methods = ["SignUp", "Login", "RefreshToken", "GetCurrentUser", "Logout"]
    events = find_events(admin, user.id, len(methods))
    assert sorted(summarize(events)) == sorted((method, "OK", user.id) for method in methods)
    assert {event.remote_address for event in events} == {"127.0.0.1"}
    assert [event.subject_ids for event in events] == [[user.id]] * len(methods)


def test_wrong_password_records_an_event_about_the_user(
    auth: Client, admin: Client, user: User, new: SignUpRequest
) -> None:
    with pytest.raises(Rejected):
        auth.login(build_login(new, password="another password"))
    assert summarize(find_events(admin, user.id, 2))[-1] == ("Login", "UNAUTHENTICATED", "")


def test_unknown_email_is_recorded_without_the_email(auth: Client, sql: Sql) -> None:
    with pytest.raises(Rejected):
        auth.login(LoginRequest(email="my password?", password="x"), metadata=(("x-request-id", "unknown"),))
    [event] = eventually(lambda: sql("SELECT * FROM access_events WHERE request_id = 'unknown'"))
    assert (event["outcome"], event["subject_ids"], event["actor_id"]) == ("UNAUTHENTICATED", [], "")
    assert "my password?" not in str(sql("SELECT access_events::text FROM access_events"))


def test_refresh_token_reuse_records_an_event_about_the_user(
    auth: Client, admin: Client, user: User, new: SignUpRequest
) -> None:
    session = auth.login(build_login(new))
    auth.refresh_token(RefreshTokenRequest(refresh_token=session.refresh_token))
    with pytest.raises(Rejected):
        auth.refresh_token(RefreshTokenRequest(refresh_token=session.refresh_token))
    assert summarize(find_events(admin, user.id, 4))[-1] == ("RefreshToken", "UNAUTHENTICATED", "")


def test_admin_calls_record_events_by_the_admin(admin: Client, admin_id: str) -> None:
    created = admin.create_user(build_create_user())
    admin.update_user(UpdateUserRequest(user=User(id=created.id, role=Role.ADMIN)))
    admin.list_users(ListUsersRequest(page_size=1))
    assert summarize(find_events(admin, created.id, 3)) == [
        ("CreateUser", "OK", admin_id),
        ("UpdateUser", "OK", admin_id),
        ("ListUsers", "OK", admin_id),
    ]


def test_role_change_and_its_event_share_a_transaction(admin: Client, user: User, sql: Sql) -> None:
    admin.update_user(UpdateUserRequest(user=User(id=user.id, role=Role.ADMIN)))
    event = "SELECT xmin::text FROM access_events WHERE method LIKE '%/UpdateUser %' AND $1 = ANY(subject_ids)"
    assert sql(event, user.id) == sql("SELECT xmin::text FROM users WHERE id = $1", user.id)


def test_rejected_role_change_records_an_event(auth: Client, admin: Client, user: User, new: SignUpRequest) -> None:
    caller = auth.with_token(auth.login(build_login(new)).access_token)
    with pytest.raises(Rejected, match="ROLE_REQUIRED"):
        caller.update_user(UpdateUserRequest(user=User(id=user.id, role=Role.ADMIN)))
    assert summarize(find_events(admin, user.id, 3))[-1] == ("UpdateUser", "PERMISSION_DENIED", user.id)


def test_public_keys_record_no_event(auth: Client, sql: Sql) -> None:
    auth.get_jwks(GetJwksRequest())
    with pytest.raises(Rejected):
        auth.login(LoginRequest(email="x", password="x"), metadata=(("x-request-id", "later"),))
    eventually(lambda: sql("SELECT 1 FROM access_events WHERE request_id = 'later'"))
    assert sql("SELECT 1 FROM access_events WHERE method LIKE '%/GetJwks'") == []


def test_events_are_found_by_actor(auth: Client, admin: Client, user: User, new: SignUpRequest) -> None:
    auth.login(build_login(new))
    admin.update_user(UpdateUserRequest(user=User(id=user.id, role=Role.ADMIN)))
    find_events(admin, user.id, 3)
    events = wait_for_events(admin, "search_user_access_events", 2, actor_id=user.id)
    assert summarize(events) == [("SignUp", "OK", user.id), ("Login", "OK", user.id)]
    by_both = wait_for_events(admin, "search_user_access_events", 1, actor_id=user.id, subject_id=user.id)
    assert by_both == events
    assert wait_for_events(admin, "search_user_access_events", 2, actor_id=user.id.upper()) == events


@pytest.mark.parametrize("query", ["", "actor_id", "subject_id"])
def test_pages_contain_every_event_once(
    auth: Client, admin: Client, user: User, new: SignUpRequest, query: str
) -> None:
    for _ in range(4):
        auth.login(build_login(new))
    expected = {event.id for event in find_events(admin, user.id, 5)}
    seen: list[str] = []
    token = ""
    while True:
        request = SearchAccessEventsRequest(page_size=2, page_token=token, **({query: user.id} if query else {}))
        page: Any = admin.search_user_access_events(request)
        seen += [event.id for event in page.access_events]
        if not (token := page.next_page_token) or len(seen) > 500:
            break
    assert expected <= set(seen)
    assert len(seen) == len(set(seen))


def test_long_list_returns_the_first_twenty_subjects(auth: Client, admin: Client, admin_id: str) -> None:
    users = [auth.sign_up(build_sign_up()) for _ in range(25)]
    admin.list_users(ListUsersRequest(page_size=25))
    event = find_events(admin, users[-1].id, 2)[-1]
    assert event.query == '{"page_size":25}'
    assert event.subject_ids == [user.id for user in users[:4:-1]]
    assert (event.subject_count, event.actor_id) == (25, admin_id)


def test_users_cannot_search(auth: Client, user: User, new: SignUpRequest) -> None:
    caller = auth.with_token(auth.login(build_login(new)).access_token)
    with pytest.raises(Rejected, match="ROLE_REQUIRED"):
        caller.search_user_access_events(SearchAccessEventsRequest())


def test_invalid_request_is_rejected(admin: Client) -> None:
    request = SearchAccessEventsRequest(actor_id="x" * 65, subject_id="42", page_size=-1, page_token="x" * 513)
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.search_user_access_events(request)
    assert list(rejected.value.violations) == ["actor_id", "subject_id", "page_size", "page_token"]


def test_call_is_rejected_while_the_event_buffer_is_full(
    auth: Client, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = RefreshTokenRequest(refresh_token=str(uuid4()))
    monkeypatch.setattr(audit_events, "MAX_WAITING_EVENTS", 2)
    with sql.hold_locks("LOCK TABLE access_events IN EXCLUSIVE MODE"):
        reasons = [attempt(lambda: auth.refresh_token(request)).reason for _ in range(3)]
    assert reasons[-1] == "DEPENDENCY_UNAVAILABLE"
    eventually(lambda: attempt(lambda: auth.refresh_token(request)).reason == "REFRESH_TOKEN_INVALID")
