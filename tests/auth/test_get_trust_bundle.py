"""GetTrustBundle: the keys, and the users whose tokens are revoked."""

from collections.abc import Iterator

import pytest

from gen.google.protobuf import FieldMask
from gen.pulsetrack.auth.v1 import (
    CreateUserRequest,
    GetCurrentUserRequest,
    GetJwksRequest,
    GetTrustBundleRequest,
    Revocation,
    TrustBundle,
    UpdateUserRequest,
    User,
)
from gen.pulsetrack.options.v1 import Role
from tests.auth.factory import build_create_user, build_login
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.services import serve_auth
from tests.harness.sql import Sql
from tests.harness.waiting import eventually


@pytest.fixture(scope="module")
def auth(background: Background, database_url: str) -> Iterator[Client]:
    """Calls an auth process, which reads its database five times a second, without a token."""
    with background.during(serve_auth(database_url, reload_seconds=0.2)) as port, connect(port, "auth") as client:
        yield client


@pytest.fixture
def new() -> CreateUserRequest:
    """The request that creates a user with the role ADMIN."""
    return build_create_user(role=Role.ADMIN)


@pytest.fixture
def ana(admin: Client, new: CreateUserRequest) -> User:
    """A user with the role ADMIN."""
    user: User = admin.create_user(new)
    return user


def revocation_of(auth: Client, user: User) -> Revocation | None:
    """Returns the user's revocation, None if there is none."""
    bundle: TrustBundle = auth.get_trust_bundle(GetTrustBundleRequest())
    return next((each for each in bundle.revocations if each.user_id == user.id), None)


def update(admin: Client, user: User, **fields: object) -> None:
    """Updates these fields of a user."""
    admin.update_user(UpdateUserRequest(User(id=user.id, **fields), FieldMask([*fields])))  # type: ignore[arg-type]


def refusal(auth: Client, token: str) -> str:
    """Returns why auth refuses the caller's own user, empty if it does not."""
    answer = attempt(lambda: auth.with_token(token).get_current_user(GetCurrentUserRequest()))
    return answer.reason if isinstance(answer, Rejected) else ""


def test_the_bundle_has_the_public_keys(auth: Client) -> None:
    assert auth.get_trust_bundle(GetTrustBundleRequest()).jwks == auth.get_jwks(GetJwksRequest()).data


def test_a_new_user_has_no_revocation(auth: Client, ana: User) -> None:
    assert revocation_of(auth, ana) is None


def test_a_disabled_user_is_revoked(auth: Client, admin: Client, ana: User) -> None:
    update(admin, ana, disabled=True)
    eventually(lambda: revocation_of(auth, ana) == Revocation(ana.id, token_version=1, disabled=True))


def test_a_demoted_user_is_revoked(auth: Client, admin: Client, ana: User) -> None:
    update(admin, ana, role=Role.USER)
    eventually(lambda: revocation_of(auth, ana) == Revocation(ana.id, token_version=1))


def test_a_user_who_is_disabled_twice_is_revoked_once(admin: Client, ana: User, sql: Sql) -> None:
    update(admin, ana, disabled=True)
    update(admin, ana, disabled=True)
    assert [row["token_version"] for row in sql("SELECT token_version FROM users WHERE id = $1", ana.id)] == [1]


def test_a_user_who_becomes_an_admin_keeps_the_token(auth: Client, admin: Client, sql: Sql) -> None:
    user: User = admin.create_user(build_create_user())
    update(admin, user, role=Role.ADMIN)
    assert [row["revoke_time"] for row in sql("SELECT revoke_time FROM users WHERE id = $1", user.id)] == [None]


def test_auth_refuses_the_token_of_a_disabled_user(
    auth: Client, admin: Client, ana: User, new: CreateUserRequest
) -> None:
    token = auth.login(build_login(new)).access_token
    assert refusal(auth, token) == ""
    update(admin, ana, disabled=True)
    eventually(lambda: refusal(auth, token) == "USER_DISABLED")


def test_a_token_of_before_is_refused_and_one_of_after_accepted_when_the_user_is_enabled_again(
    auth: Client, admin: Client, ana: User, new: CreateUserRequest
) -> None:
    before = auth.login(build_login(new)).access_token
    update(admin, ana, disabled=True)
    update(admin, ana, disabled=False)
    after = auth.login(build_login(new)).access_token
    eventually(lambda: refusal(auth, before) == "TOKEN_INVALID")
    assert refusal(auth, after) == ""


def test_a_revocation_leaves_the_bundle_when_no_token_of_before_can_be_valid(
    auth: Client, admin: Client, ana: User, sql: Sql
) -> None:
    update(admin, ana, disabled=True)
    eventually(lambda: revocation_of(auth, ana))
    sql("UPDATE users SET revoke_time = now() - interval '961 seconds' WHERE id = $1", ana.id)
    eventually(lambda: revocation_of(auth, ana) is None)
