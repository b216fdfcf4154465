"""RotateClientSecret and RevokeClient: which secrets and tokens of a client remain valid."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from gen.pulsetrack.auth.v1 import (
    ClientState,
    CreateClientResponse,
    GetTrustBundleRequest,
    RevokeClientRequest,
)
from tests.auth.machine_clients import (
    PAST,
    SCOPE,
    client_of,
    create_client,
    find_reason,
    find_token_error,
    issue,
    read_claims,
    rotate,
)
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.concurrency import call_concurrently
from tests.harness.services import serve_auth
from tests.harness.sql import Sql
from tests.harness.waiting import eventually


@pytest.fixture(scope="module")
def auth(background: Background, database_url: str) -> Iterator[Client]:
    """A client without a token. The server reloads revocations every 0.2 s."""
    with background.during(serve_auth(database_url, reload_seconds=0.2)) as port, connect(port, "auth") as client:
        yield client


@pytest.fixture
def created(admin: Client) -> CreateClientResponse:
    """A new machine client."""
    return create_client(admin)


def test_previous_secret_stays_valid_for_a_day(auth: Client, admin: Client, created: CreateClientResponse) -> None:
    rotated = rotate(admin, created)
    assert rotated.previous_secret_expire_time is not None
    overlap = rotated.previous_secret_expire_time - datetime.now(UTC)
    assert timedelta(hours=23) < overlap <= timedelta(hours=24)
    assert issue(auth, created).scope == SCOPE
    assert issue(auth, created, client_secret=rotated.client_secret).scope == SCOPE


def test_token_expires_with_the_previous_secret(auth: Client, admin: Client, created: CreateClientResponse) -> None:
    rotate(admin, created, previous_secret_expire_time=datetime.now(UTC) + timedelta(minutes=5))
    assert issue(auth, created).expires_in <= 300


def test_rotation_at_once_ends_the_secret_and_its_tokens(
    auth: Client, admin: Client, created: CreateClientResponse
) -> None:
    token = issue(auth, created)
    rotated = rotate(admin, created, previous_secret_expire_time=PAST)
    new = issue(auth, created, client_secret=rotated.client_secret)
    assert find_reason(attempt(lambda: issue(auth, created))) == "INVALID_CREDENTIALS"
    eventually(lambda: find_token_error(auth, token) == "TOKEN_INVALID")
    assert find_token_error(auth, new) == "ROLE_REQUIRED"


def test_client_has_at_most_two_secrets(auth: Client, admin: Client, created: CreateClientResponse) -> None:
    token = issue(auth, created)
    second, third = rotate(admin, created), rotate(admin, created)
    assert find_reason(attempt(lambda: issue(auth, created))) == "INVALID_CREDENTIALS"
    assert issue(auth, created, client_secret=second.client_secret).scope == SCOPE
    assert issue(auth, created, client_secret=third.client_secret).scope == SCOPE
    eventually(lambda: find_token_error(auth, token) == "TOKEN_INVALID")


def test_concurrent_rotations_leave_two_secrets(auth: Client, admin: Client, created: CreateClientResponse) -> None:
    rotated, rejected = call_concurrently([lambda: rotate(admin, created)] * 4)
    assert (len(rotated), rejected) == (4, [])
    responses = [attempt(partial(issue, auth, created, client_secret=each.client_secret)) for each in rotated]
    assert sorted(map(find_reason, responses)) == ["", "", "INVALID_CREDENTIALS", "INVALID_CREDENTIALS"]


def test_long_overlap_is_rejected(admin: Client, created: CreateClientResponse) -> None:
    with pytest.raises(Rejected) as rejected:
        rotate(admin, created, previous_secret_expire_time=datetime.now(UTC) + timedelta(days=31))
    assert rejected.value.violations == {"previous_secret_expire_time": "must be at most 30 days from now"}


def test_revoked_client_and_its_tokens_are_rejected(auth: Client, admin: Client, created: CreateClientResponse) -> None:
    token = issue(auth, created)
    assert find_token_error(auth, token) == "ROLE_REQUIRED"
    revoke = RevokeClientRequest(id=client_of(created).id)
    assert admin.revoke_client(revoke).state == ClientState.REVOKED
    assert admin.revoke_client(revoke).state == ClientState.REVOKED
    assert find_reason(attempt(lambda: issue(auth, created))) == "INVALID_CREDENTIALS"
    assert find_reason(attempt(lambda: rotate(admin, created))) == "CLIENT_INACTIVE"
    eventually(lambda: find_token_error(auth, token) == "TOKEN_INVALID")


def test_revocation_leaves_the_bundle_after_the_last_token_expires(
    auth: Client, admin: Client, created: CreateClientResponse, sql: Sql
) -> None:
    session_id, client_id = read_claims(issue(auth, created))["sid"], client_of(created).id

    def is_in_bundle() -> bool:
        return session_id in auth.get_trust_bundle(GetTrustBundleRequest()).ended_session_ids

    admin.revoke_client(RevokeClientRequest(id=client_id))
    eventually(is_in_bundle)
    sql("UPDATE client_secrets SET end_time = now() - interval '961 seconds' WHERE client_id = $1", client_id)
    eventually(lambda: not is_in_bundle())
