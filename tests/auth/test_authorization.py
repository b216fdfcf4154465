"""Authorization beyond the token: the sign-up policy, and the current state of the caller's account."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    SignUpRequest,
    UpdateUserRequest,
    User,
)
from gen.pulsetrack.options.v1 import Role
from services.common.protobuf.contract import SERVICES, AccessKind, Method, methods
from tests.auth.factory import build_create_user, build_login, build_sign_up
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.concurrency import call_concurrently
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD, serve_auth
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

LOSSES: dict[str, tuple[dict[str, Any], str]] = {
    "demoted": ({"role": Role.USER}, "ROLE_REQUIRED"),
    "disabled": ({"disabled": True}, "USER_DISABLED"),
}
ADMIN_METHODS = [
    method
    for method in methods(SERVICES["auth"])
    if method.access.kind is AccessKind.USERS and "USER" not in method.access.roles
]


@pytest.fixture
def closed(background: Background, new_database: Callable[[str], str]) -> Iterator[Client]:
    """A client of an auth server with closed sign-up."""
    with (
        background.during(serve_auth(new_database("auth"), sign_up="invite")) as port,
        connect(port, "auth") as client,
    ):
        yield client


def create_admin(auth: Client, admin: Client) -> tuple[User, Client]:
    """Creates another admin. Returns the user and a client with their token."""
    new = build_create_user(role=Role.ADMIN)
    user: User = admin.create_user(new)
    return user, auth.with_token(auth.login(build_login(new)).access_token)


def apply_loss(admin: Client, user: User, change: dict[str, Any]) -> None:
    """Demotes or disables a user."""
    admin.update_user(UpdateUserRequest(User(id=user.id, **change)))


@pytest.mark.parametrize(
    "request_",
    [
        build_sign_up(email=ADMIN_EMAIL),
        SignUpRequest(),
        build_sign_up(email="new@clinic.test"),
        build_sign_up(password="x"),
    ],
    ids=["email of a user", "empty", "new email", "short password"],
)
def test_closed_sign_up_rejects_every_request_with_the_same_response(closed: Client, request_: SignUpRequest) -> None:
    rejected = attempt(lambda: closed.sign_up(request_))
    assert (rejected.code, rejected.reason) == (StatusCode.PERMISSION_DENIED, "SIGN_UP_CLOSED")
    assert rejected.violations == {}


def test_admin_creates_users_while_sign_up_is_closed(closed: Client) -> None:
    token = closed.login(LoginRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD)).access_token
    new = build_create_user()
    closed.with_token(token).create_user(new)
    assert closed.login(build_login(new)).access_token


@pytest.mark.parametrize("method", ADMIN_METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("loss", LOSSES)
def test_demoted_or_disabled_admin_is_rejected_immediately(
    auth: Client, admin: Client, loss: str, method: Method
) -> None:
    change, reason = LOSSES[loss]
    user, other = create_admin(auth, admin)
    apply_loss(admin, user, change)
    rejected = attempt(lambda: other.call(method.path, b""))
    assert (rejected.code, rejected.reason) == (StatusCode.PERMISSION_DENIED, reason)


@pytest.mark.parametrize("loss", LOSSES)
def test_demoted_or_disabled_admin_cannot_undo_it_with_an_old_token(
    auth: Client, admin: Client, sql: Sql, loss: str
) -> None:
    change, reason = LOSSES[loss]
    first: User = admin.get_current_user(GetCurrentUserRequest())
    user, other = create_admin(auth, admin)
    apply_loss(admin, user, change)
    back = User(id=user.id, role=Role.ADMIN)
    another_admin = build_create_user(role=Role.ADMIN)
    for call in (
        lambda: other.update_user(UpdateUserRequest(back, FieldMask(["*"]))),
        lambda: other.create_user(another_admin),
        lambda: other.update_user(UpdateUserRequest(User(id=first.id, disabled=True))),
        lambda: other.list_users(ListUsersRequest()),
    ):
        assert attempt(call).reason == reason
    [row] = sql("SELECT role, disabled FROM users WHERE id = $1", user.id)
    assert (row["role"], row["disabled"]) == (user.role.name if "role" not in change else "USER", loss == "disabled")
    assert sql("SELECT 1 FROM users WHERE email = $1", another_admin.email) == []
    assert not admin.get_current_user(GetCurrentUserRequest()).disabled


def test_disabled_user_is_rejected_with_an_old_token(auth: Client, admin: Client) -> None:
    new = build_create_user()
    user = admin.create_user(new)
    token = auth.login(build_login(new)).access_token
    apply_loss(admin, user, {"disabled": True})
    with pytest.raises(Rejected, match="PERMISSION_DENIED USER_DISABLED"):
        auth.with_token(token).get_current_user(GetCurrentUserRequest())


def test_demoted_admin_can_still_get_the_current_user(auth: Client, admin: Client) -> None:
    user, other = create_admin(auth, admin)
    apply_loss(admin, user, {"role": Role.USER})
    assert other.get_current_user(GetCurrentUserRequest()).role is Role.USER


@pytest.mark.parametrize("action", ["create_user", "update_user"])
def test_admin_call_waits_for_a_concurrent_demotion(auth: Client, admin: Client, sql: Sql, action: str) -> None:
    user, other = create_admin(auth, admin)
    requests = {"create_user": build_create_user(), "update_user": UpdateUserRequest(User(id=user.id, role=Role.ADMIN))}
    with ThreadPoolExecutor(1) as threads:
        with sql.hold_locks("UPDATE users SET role = 'USER' WHERE id = $1", user.id, commit=True):
            waiting = threads.submit(attempt, partial(getattr(other, action), requests[action]))
            eventually(sql.count_waiting)
        assert waiting.result(20).reason == "ROLE_REQUIRED"


@pytest.mark.parametrize("loss", LOSSES)
def test_no_call_of_a_demoted_or_disabled_admin_takes_effect_afterwards(
    auth: Client, admin: Client, sql: Sql, loss: str
) -> None:
    """Calls that start after the response to the update must fail; concurrent calls may succeed."""
    change, reason = LOSSES[loss]
    user, other = create_admin(auth, admin)
    mark = uuid4().hex[:12]

    def create(number: int) -> User:
        new: User = other.create_user(build_create_user(username=f"{mark}{number}", role=Role.ADMIN))
        return new

    calls = [partial(create, number) for number in range(6)]
    racing: list[Callable[[], User | None]] = [*calls, partial(apply_loss, admin, user, change)]
    created, rejections = call_concurrently(racing)
    succeeded = sum(each is not None for each in created)
    assert {rejection.reason for rejection in rejections} <= {reason}
    assert succeeded + len(rejections) == len(calls)
    assert attempt(partial(create, 99)).reason == reason
    assert len(sql("SELECT 1 FROM users WHERE starts_with(username, $1)", mark)) == succeeded


def test_only_one_of_two_admins_who_disable_each_other_succeeds(auth: Client, admin: Client) -> None:
    for _ in range(5):
        pairs = [create_admin(auth, admin) for _ in range(2)]
        calls = [
            partial(pairs[one][1].update_user, UpdateUserRequest(User(id=pairs[1 - one][0].id, disabled=True)))
            for one in range(2)
        ]
        responses, rejections = call_concurrently(calls)
        assert (len(responses), [rejection.reason for rejection in rejections]) == (1, ["USER_DISABLED"])
