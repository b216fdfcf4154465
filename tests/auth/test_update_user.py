"""UpdateUser."""

from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from grpc import StatusCode

from gen.google.protobuf import FieldMask
from gen.pulsetrack.auth.v1 import (
    GetCurrentUserRequest,
    ListUsersRequest,
    LoginRequest,
    RefreshTokenRequest,
    UpdateUserRequest,
    User,
)
from gen.pulsetrack.options.v1 import Role
from tests.auth.factory import build_create_user, build_login, can_refresh, create_session
from tests.harness.client import Client, Rejected, attempt
from tests.harness.concurrency import call_concurrently
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD
from tests.harness.sql import Sql


@pytest.fixture
def admin(auth: Client) -> Client:
    """The first admin, logged in again for each test, because some tests revoke the earlier tokens."""
    return auth.with_token(auth.login(LoginRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD)).access_token)


@pytest.fixture
def ana(admin: Client) -> User:
    """A user with the role USER."""
    user: User = admin.create_user(build_create_user())
    return user


@pytest.fixture
def only_admin(sql: Sql, admin: Client) -> Iterator[User]:
    """The first admin, who is the only admin during the test."""
    user: User = admin.get_current_user(GetCurrentUserRequest())
    sql("UPDATE users SET role = 'USER' WHERE id <> $1", user.id)
    yield user
    sql("UPDATE users SET role = 'ADMIN', disabled = false WHERE id = $1", user.id)


def build_update(user: User, *mask: str, **fields: Any) -> UpdateUserRequest:
    """Returns a request that updates the given fields of a user, with a mask unless it is empty."""
    return UpdateUserRequest(User(id=user.id, **fields), FieldMask(list(mask)) if mask else None)


def find_in_list(admin: Client, user: User) -> User:
    """Returns the current state of a user from ListUsers."""
    found: dict[str, User] = {each.id: each for each in admin.list_users(ListUsersRequest(page_size=1000)).users}
    return found[user.id]


def find_role(auth: Client, token: str) -> str:
    """Returns the role of a token, based on whether it can list users."""
    response = attempt(lambda: auth.with_token(token).list_users(ListUsersRequest()))
    return "USER" if isinstance(response, Rejected) and response.reason == "ROLE_REQUIRED" else "ADMIN"


def test_update_without_mask_changes_fields_that_have_a_value(admin: Client, ana: User) -> None:
    changed: User = admin.update_user(build_update(ana, disabled=True))
    assert (changed.role, changed.disabled) == (Role.USER, True)
    changed = admin.update_user(build_update(ana, role=Role.ADMIN))
    assert (changed.role, changed.disabled) == (Role.ADMIN, True)
    assert (changed.email, changed.username, changed.create_time) == (ana.email, ana.username, ana.create_time)
    assert find_in_list(admin, ana) == changed


def test_mask_selects_the_fields_that_change(admin: Client, ana: User) -> None:
    changed = admin.update_user(build_update(ana, "disabled", disabled=True, role=Role.ADMIN))
    assert (changed.role, changed.disabled) == (Role.USER, True)
    assert admin.update_user(build_update(ana, "disabled")).disabled is False


def test_wildcard_mask_changes_both_fields(admin: Client, ana: User) -> None:
    admin.update_user(build_update(ana, disabled=True))
    changed = admin.update_user(build_update(ana, "*", role=Role.ADMIN))
    assert (changed.role, changed.disabled) == (Role.ADMIN, False)


def test_unchanged_user_is_accepted(admin: Client, ana: User) -> None:
    assert admin.update_user(UpdateUserRequest(ana)) == ana


@pytest.mark.parametrize("path", ["email", "username", "id", "create_time", "password", "user.role", ""])
def test_mask_with_an_immutable_field_is_rejected(admin: Client, ana: User, path: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.update_user(build_update(ana, "role", path, role=Role.ADMIN))
    assert list(rejected.value.violations) == ["update_mask"]
    assert find_in_list(admin, ana) == ana


@pytest.mark.parametrize("field", ["email", "username"])
def test_new_value_of_an_immutable_field_is_rejected(admin: Client, ana: User, field: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.update_user(build_update(ana, role=Role.ADMIN, **{field: "another"}))
    assert list(rejected.value.violations) == [f"user.{field}"]
    assert find_in_list(admin, ana) == ana


@pytest.mark.parametrize("mask", ["role", "*"])
def test_role_cannot_be_cleared(admin: Client, ana: User, mask: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.update_user(build_update(ana, mask))
    assert list(rejected.value.violations) == ["user.role"]


@pytest.mark.parametrize(
    ("request_", "violated"),
    [
        (UpdateUserRequest(), "user"),
        (UpdateUserRequest(User(disabled=True)), "user"),
        (UpdateUserRequest(User(id="42")), "user.id"),
        (UpdateUserRequest(User(id=str(uuid4()), role=9)), "user.role"),  # type: ignore[arg-type]
    ],
)
def test_invalid_field_is_reported(admin: Client, request_: UpdateUserRequest, violated: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.update_user(request_)
    assert list(rejected.value.violations) == [violated]


def test_unknown_user_is_not_found(admin: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND USER_NOT_FOUND"):
        admin.update_user(build_update(User(id=str(uuid4())), disabled=True))


def test_only_admins_can_update_users(auth: Client, ana: User) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        auth.with_token(create_session(auth).access_token).update_user(build_update(ana, role=Role.ADMIN))


def test_disabled_user_can_neither_log_in_nor_refresh_a_session(auth: Client, admin: Client) -> None:
    new = build_create_user()
    user = admin.create_user(new)
    sessions = [auth.login(build_login(new)) for _ in range(2)]
    admin.update_user(build_update(user, disabled=True))
    with pytest.raises(Rejected, match="PERMISSION_DENIED USER_DISABLED"):
        auth.login(build_login(new))
    assert [can_refresh(auth, session) for session in sessions] == [False, False]
    assert find_in_list(admin, user).disabled


def test_enabled_user_can_log_in_again(auth: Client, admin: Client) -> None:
    new = build_create_user()
    user = admin.create_user(new)
    session = auth.login(build_login(new))
    admin.update_user(build_update(user, disabled=True))
    admin.update_user(build_update(user, "disabled"))
    assert not can_refresh(auth, session)
    assert can_refresh(auth, auth.login(build_login(new)))


def test_sessions_of_other_users_are_unaffected(auth: Client, admin: Client, ana: User) -> None:
    other = create_session(auth)
    admin.update_user(build_update(ana, disabled=True))
    assert can_refresh(auth, other)


def test_next_token_of_a_session_contains_a_new_role(auth: Client, admin: Client) -> None:
    new = build_create_user()
    user = admin.create_user(new)
    session = auth.login(build_login(new))
    admin.update_user(build_update(user, role=Role.ADMIN))
    assert find_role(auth, session.access_token) == "USER"
    session = auth.refresh_token(RefreshTokenRequest(refresh_token=session.refresh_token))
    assert find_role(auth, session.access_token) == "ADMIN"


@pytest.mark.parametrize("change", [{"role": Role.USER}, {"disabled": True}])
def test_last_enabled_admin_cannot_be_demoted_or_disabled(
    admin: Client, only_admin: User, sql: Sql, change: dict[str, Any]
) -> None:
    disabled = admin.create_user(build_create_user(role=Role.ADMIN))
    sql("UPDATE users SET disabled = true WHERE id = $1", disabled.id)
    with pytest.raises(Rejected) as rejected:
        admin.update_user(build_update(only_admin, **change))
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.FAILED_PRECONDITION, "LAST_ADMIN")
    assert find_in_list(admin, only_admin) == only_admin


def test_admin_can_be_demoted_if_another_remains(admin: Client, only_admin: User) -> None:
    admin.create_user(build_create_user(role=Role.ADMIN))
    assert admin.update_user(build_update(only_admin, role=Role.USER)).role is Role.USER


def test_one_admin_remains_when_admins_disable_each_other_concurrently(
    auth: Client, admin: Client, only_admin: User, sql: Sql
) -> None:
    for _ in range(5):
        sql("UPDATE users SET role = CASE id WHEN $1::uuid THEN 'ADMIN' ELSE 'USER' END", only_admin.id)
        requests = [build_create_user(role=Role.ADMIN) for _ in range(4)]
        users = [admin.create_user(request) for request in requests]
        sql("UPDATE users SET role = 'USER' WHERE id = $1", only_admin.id)
        callers = [auth.with_token(auth.login(build_login(request)).access_token) for request in requests]
        others = [*users[1:], users[0]]
        calls = [partial(c.update_user, build_update(u, disabled=True)) for c, u in zip(callers, others, strict=True)]
        _, rejections = call_concurrently(calls)
        assert {rejection.reason for rejection in rejections} <= {"USER_DISABLED"}
        [row] = sql("SELECT count(*) FROM users WHERE role = 'ADMIN' AND NOT disabled")
        assert row["count"] == len(rejections)
        assert row["count"] >= 1
