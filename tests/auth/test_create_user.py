"""CreateUser."""

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import CreateUserRequest, GetCurrentUserRequest, User
from gen.pulsetrack.options.v1 import Role
from services.common.protobuf import codec
from services.common.protobuf.contract import SERVICES
from tests.auth.factory import build_create_user, build_login, create_session
from tests.harness.client import Client, Rejected

PATH = f"/{SERVICES['auth']}/CreateUser"


@pytest.mark.parametrize("role", [Role.USER, Role.ADMIN])
def test_new_user_has_the_requested_role(auth: Client, admin: Client, role: Role) -> None:
    new = build_create_user(role=role)
    user: User = admin.create_user(new)
    assert (user.email, user.username, user.role, user.disabled) == (new.email, new.username, role, False)
    session = auth.login(build_login(new))
    assert auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest()) == user


def test_new_admin_can_create_users(auth: Client, admin: Client) -> None:
    new = build_create_user(role=Role.ADMIN)
    admin.create_user(new)
    other = auth.with_token(auth.login(build_login(new)).access_token)
    assert other.create_user(build_create_user()).id


def test_role_defaults_to_user(admin: Client) -> None:
    assert admin.create_user(build_create_user()).role is Role.USER


def test_only_admins_can_create_users(auth: Client) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        auth.with_token(create_session(auth).access_token).create_user(build_create_user())


@pytest.mark.parametrize(("field", "reason"), [("email", "EMAIL"), ("username", "USERNAME")])
def test_email_or_username_of_another_user_is_rejected(admin: Client, field: str, reason: str) -> None:
    taken = build_create_user()
    admin.create_user(taken)
    with pytest.raises(Rejected) as rejected:
        admin.create_user(build_create_user(**{field: getattr(taken, field).upper()}))
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.ALREADY_EXISTS, f"{reason}_ALREADY_EXISTS")


@pytest.mark.parametrize(
    ("field", "value"),
    [("email", ""), ("email", "ana"), ("username", ""), ("username", "a b"), ("password", "x" * 7), ("role", 9)],
)
def test_invalid_field_is_reported(admin: Client, field: str, value: object) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.create_user(build_create_user(**{field: value}))
    assert list(rejected.value.violations) == [field]


def test_response_does_not_contain_the_password(admin: Client) -> None:
    new = build_create_user()
    response = admin.call(PATH, codec.codec_of(CreateUserRequest).dumps(new))
    assert new.email.encode() in response
    assert b"argon2" not in response
    assert new.password.encode() not in response
