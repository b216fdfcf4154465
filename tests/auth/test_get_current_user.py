"""GetCurrentUser."""

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, LoginRequest
from gen.pulsetrack.options.v1 import Role
from tests.auth.factory import build_login, build_sign_up
from tests.harness.client import Client, Rejected
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD
from tests.harness.sql import Sql


def test_user_gets_their_own_user(auth: Client) -> None:
    new = build_sign_up()
    user = auth.sign_up(new)
    token = auth.login(build_login(new)).access_token
    assert auth.with_token(token).get_current_user(GetCurrentUserRequest()) == user


def test_admin_gets_their_own_user(auth: Client) -> None:
    token = auth.login(LoginRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD)).access_token
    admin = auth.with_token(token).get_current_user(GetCurrentUserRequest())
    assert (admin.email, admin.role) == (ADMIN_EMAIL, Role.ADMIN)


def test_deleted_user_is_not_found(auth: Client, sql: Sql) -> None:
    new = build_sign_up()
    user = auth.sign_up(new)
    token = auth.login(build_login(new)).access_token
    for table in ("refresh_tokens", "sessions"):
        sql(f"DELETE FROM {table} WHERE user_id = $1", user.id)
    sql("DELETE FROM users WHERE id = $1", user.id)
    with pytest.raises(Rejected) as rejected:
        auth.with_token(token).get_current_user(GetCurrentUserRequest())
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.NOT_FOUND, "USER_NOT_FOUND")
