"""GetTrustBundle: the public keys and the revocations."""

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
    """A client without a token. The server reloads keys and revocations every 0.2 s."""
    with background.during(serve_auth(database_url, reload_seconds=0.2)) as port, connect(port, "auth") as client:
        yield client


@pytest.fixture
def new() -> CreateUserRequest:
    """A request that creates a user with the role ADMIN."""
    return build_create_user(role=Role.ADMIN)


@pytest.fixture
def ana(admin: Client, new: CreateUserRequest) -> User:
    """A user with the role ADMIN."""
    user: User = admin.create_user(new)
    return user


def find_revocation(auth: Client, user: User) -> Revocation | None:
    """Returns the revocation of a user, or None if there is none."""
    bundle: TrustBundle = auth.get_trust_bundle(GetTrustBundleRequest())
    return next((each for each in bundle.revocations if each.user_id == user.id), None)


def update(admin: Client, user: User, **fields: object) -> None:
    """Updates the given fields of a user."""
    admin.update_user(UpdateUserRequest(User(id=user.id, **fields), FieldMask([*fields])))  # type: ignore[arg-type]


def find_rejection(auth: Client, token: str) -> str:
    """Returns the error reason of GetCurrentUser with a token, or an empty string if the call succeeds."""
    response = attempt(lambda: auth.with_token(token).get_current_user(GetCurrentUserRequest()))
    return response.reason if isinstance(response, Rejected) else ""


def test_bundle_contains_the_public_keys(auth: Client) -> None:
    assert auth.get_trust_bundle(GetTrustBundleRequest()).jwks == auth.get_jwks(GetJwksRequest()).data


def test_new_user_has_no_revocation(auth: Client, ana: User) -> None:
    assert find_revocation(auth, ana) is None


def test_disabling_a_user_revokes_their_tokens(auth: Client, admin: Client, ana: User) -> None:
    update(admin, ana, disabled=True)
    eventually(lambda: find_revocation(auth, ana) == Revocation(ana.id, token_version=1, disabled=True))


def test_demoting_a_user_revokes_their_tokens(auth: Client, admin: Client, ana: User) -> None:
    update(admin, ana, role=Role.USER)
    eventually(lambda: find_revocation(auth, ana) == Revocation(ana.id, token_version=1))


def test_disabling_a_user_twice_revokes_once(admin: Client, ana: User, sql: Sql) -> None:
    update(admin, ana, disabled=True)
    update(admin, ana, disabled=True)
    assert [row["token_version"] for row in sql("SELECT token_version FROM users WHERE id = $1", ana.id)] == [1]


def test_promotion_does_not_revoke_tokens(auth: Client, admin: Client, sql: Sql) -> None:
    user: User = admin.create_user(build_create_user())
    update(admin, user, role=Role.ADMIN)
    assert [row["revoke_time"] for row in sql("SELECT revoke_time FROM users WHERE id = $1", user.id)] == [None]


def test_auth_rejects_the_token_of_a_disabled_user(
    auth: Client, admin: Client, ana: User, new: CreateUserRequest
) -> None:
    token = auth.login(build_login(new)).access_token
    assert find_rejection(auth, token) == ""
    update(admin, ana, disabled=True)
    eventually(lambda: find_rejection(auth, token) == "USER_DISABLED")


def test_enabling_a_user_does_not_restore_revoked_tokens(
    auth: Client, admin: Client, ana: User, new: CreateUserRequest
) -> None:
    before = auth.login(build_login(new)).access_token
    update(admin, ana, disabled=True)
    update(admin, ana, disabled=False)
    after = auth.login(build_login(new)).access_token
    eventually(lambda: find_rejection(auth, before) == "TOKEN_INVALID")
    assert find_rejection(auth, after) == ""


def test_revocation_leaves_the_bundle_after_the_last_token_expires(
    auth: Client, admin: Client, ana: User, sql: Sql
) -> None:
    update(admin, ana, disabled=True)
    eventually(lambda: find_revocation(auth, ana))
    sql("UPDATE users SET revoke_time = now() - interval '961 seconds' WHERE id = $1", ana.id)
    eventually(lambda: find_revocation(auth, ana) is None)
