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
    """The first admin, logged in again for each test: some take the role away, which revokes the tokens of before."""
    return auth.with_token(auth.login(LoginRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD)).access_token)


@pytest.fixture
def ana(admin: Client) -> User:
    """A user who is no admin."""
    user: User = admin.create_user(build_create_user())
    return user


@pytest.fixture
def alone(sql: Sql, admin: Client) -> Iterator[User]:
    """The first admin, who is the only one during the test."""
    user: User = admin.get_current_user(GetCurrentUserRequest())
    sql("UPDATE users SET role = 'USER' WHERE id <> $1", user.id)
    yield user
    sql("UPDATE users SET role = 'ADMIN', disabled = false WHERE id = $1", user.id)


def changing(user: User, *mask: str, **fields: Any) -> UpdateUserRequest:
    """Returns the request that changes these fields of a user, with a mask if it is not empty."""
    return UpdateUserRequest(User(id=user.id, **fields), FieldMask(list(mask)) if mask else None)


def in_the_list(admin: Client, user: User) -> User:
    """Returns the user as he is now."""
    found: dict[str, User] = {each.id: each for each in admin.list_users(ListUsersRequest(page_size=1000)).users}
    return found[user.id]


def role_of_token(auth: Client, token: str) -> str:
    """Returns the role that a token shows by what it opens."""
    answer = attempt(lambda: auth.with_token(token).list_users(ListUsersRequest()))
    return "USER" if isinstance(answer, Rejected) and answer.reason == "ROLE_REQUIRED" else "ADMIN"


def test_without_a_mask_the_fields_that_have_a_value_change(admin: Client, ana: User) -> None:
    changed: User = admin.update_user(changing(ana, disabled=True))
    assert (changed.role, changed.disabled) == (Role.USER, True)
    changed = admin.update_user(changing(ana, role=Role.ADMIN))
    assert (changed.role, changed.disabled) == (Role.ADMIN, True)
    assert (changed.email, changed.username, changed.create_time) == (ana.email, ana.username, ana.create_time)
    assert in_the_list(admin, ana) == changed


def test_a_mask_says_which_fields_change(admin: Client, ana: User) -> None:
    changed = admin.update_user(changing(ana, "disabled", disabled=True, role=Role.ADMIN))
    assert (changed.role, changed.disabled) == (Role.USER, True)
    assert admin.update_user(changing(ana, "disabled")).disabled is False


def test_a_star_changes_both_fields(admin: Client, ana: User) -> None:
    admin.update_user(changing(ana, disabled=True))
    changed = admin.update_user(changing(ana, "*", role=Role.ADMIN))
    assert (changed.role, changed.disabled) == (Role.ADMIN, False)


def test_a_user_may_be_sent_back_as_he_was_read(admin: Client, ana: User) -> None:
    assert admin.update_user(UpdateUserRequest(ana)) == ana


@pytest.mark.parametrize("path", ["email", "username", "id", "create_time", "password", "user.role", ""])
def test_a_mask_with_what_cannot_change_is_refused(admin: Client, ana: User, path: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        admin.update_user(changing(ana, "role", path, role=Role.ADMIN))
    assert list(refused.value.violations) == ["update_mask"]
    assert in_the_list(admin, ana) == ana


@pytest.mark.parametrize("field", ["email", "username"])
def test_a_new_value_of_what_cannot_change_is_refused(admin: Client, ana: User, field: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        admin.update_user(changing(ana, role=Role.ADMIN, **{field: "another"}))
    assert list(refused.value.violations) == [f"user.{field}"]
    assert in_the_list(admin, ana) == ana


@pytest.mark.parametrize("mask", ["role", "*"])
def test_a_role_cannot_be_cleared(admin: Client, ana: User, mask: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        admin.update_user(changing(ana, mask))
    assert list(refused.value.violations) == ["user.role"]


@pytest.mark.parametrize(
    ("request_", "violated"),
    [
        (UpdateUserRequest(), "user"),
        (UpdateUserRequest(User(disabled=True)), "user"),
        (UpdateUserRequest(User(id="42")), "user.id"),
        (UpdateUserRequest(User(id=str(uuid4()), role=9)), "user.role"),  # type: ignore[arg-type]
    ],
)
def test_a_field_that_breaks_its_rule_is_named(admin: Client, request_: UpdateUserRequest, violated: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        admin.update_user(request_)
    assert list(refused.value.violations) == [violated]


def test_an_unknown_user_is_not_found(admin: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND USER_NOT_FOUND"):
        admin.update_user(changing(User(id=str(uuid4())), disabled=True))


def test_who_is_no_admin_changes_nobody(auth: Client, ana: User) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        auth.with_token(create_session(auth).access_token).update_user(changing(ana, role=Role.ADMIN))


def test_a_disabled_user_is_out_of_log_in_and_of_every_session(auth: Client, admin: Client) -> None:
    new = build_create_user()
    user = admin.create_user(new)
    sessions = [auth.login(build_login(new)) for _ in range(2)]
    admin.update_user(changing(user, disabled=True))
    with pytest.raises(Rejected, match="PERMISSION_DENIED USER_DISABLED"):
        auth.login(build_login(new))
    assert [can_refresh(auth, session) for session in sessions] == [False, False]
    assert in_the_list(admin, user).disabled


def test_a_user_who_is_enabled_again_logs_in_again(auth: Client, admin: Client) -> None:
    new = build_create_user()
    user = admin.create_user(new)
    session = auth.login(build_login(new))
    admin.update_user(changing(user, disabled=True))
    admin.update_user(changing(user, "disabled"))
    assert not can_refresh(auth, session)
    assert can_refresh(auth, auth.login(build_login(new)))


def test_others_keep_their_sessions(auth: Client, admin: Client, ana: User) -> None:
    other = create_session(auth)
    admin.update_user(changing(ana, disabled=True))
    assert can_refresh(auth, other)


def test_a_new_role_is_in_the_next_token_of_a_session(auth: Client, admin: Client) -> None:
    new = build_create_user()
    user = admin.create_user(new)
    session = auth.login(build_login(new))
    admin.update_user(changing(user, role=Role.ADMIN))
    assert role_of_token(auth, session.access_token) == "USER"
    session = auth.refresh_token(RefreshTokenRequest(refresh_token=session.refresh_token))
    assert role_of_token(auth, session.access_token) == "ADMIN"


@pytest.mark.parametrize("change", [{"role": Role.USER}, {"disabled": True}])
def test_the_last_enabled_admin_stays(admin: Client, alone: User, sql: Sql, change: dict[str, Any]) -> None:
    disabled = admin.create_user(build_create_user(role=Role.ADMIN))
    sql("UPDATE users SET disabled = true WHERE id = $1", disabled.id)
    with pytest.raises(Rejected) as refused:
        admin.update_user(changing(alone, **change))
    assert (refused.value.code, refused.value.reason) == (StatusCode.FAILED_PRECONDITION, "LAST_ADMIN")
    assert in_the_list(admin, alone) == alone


def test_an_admin_may_go_when_another_stays(admin: Client, alone: User) -> None:
    admin.create_user(build_create_user(role=Role.ADMIN))
    assert admin.update_user(changing(alone, role=Role.USER)).role is Role.USER


def test_of_admins_who_disable_each_other_at_once_one_stays(auth: Client, admin: Client, alone: User, sql: Sql) -> None:
    for _ in range(5):
        sql("UPDATE users SET role = CASE id WHEN $1::uuid THEN 'ADMIN' ELSE 'USER' END", alone.id)
        requests = [build_create_user(role=Role.ADMIN) for _ in range(4)]
        users = [admin.create_user(request) for request in requests]
        sql("UPDATE users SET role = 'USER' WHERE id = $1", alone.id)
        callers = [auth.with_token(auth.login(build_login(request)).access_token) for request in requests]
        others = [*users[1:], users[0]]
        calls = [partial(c.update_user, changing(u, disabled=True)) for c, u in zip(callers, others, strict=True)]
        _, refusals = call_concurrently(calls)
        assert {refusal.reason for refusal in refusals} <= {"USER_DISABLED"}
        [row] = sql("SELECT count(*) FROM users WHERE role = 'ADMIN' AND NOT disabled")
        assert row["count"] == len(refusals)
        assert row["count"] >= 1
