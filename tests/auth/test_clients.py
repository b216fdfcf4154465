"""CreateClient, GetClient, ListClients and IssueClientToken."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import (
    ClientState,
    CreateClientRequest,
    CreateClientResponse,
    CreateUserRequest,
    GetClientRequest,
    IssueClientTokenRequest,
    ListClientsRequest,
    ListSecurityEventsRequest,
    RevokeClientRequest,
    RotateClientSecretRequest,
)
from gen.pulsetrack.options.v1 import Role
from services.auth.client_store import _USE_ACCURACY
from services.common.protobuf.contract import all_scopes
from tests.auth.factory import build_create_user, build_login
from tests.auth.machine_clients import (
    PAST,
    SCOPE,
    client_of,
    create_client,
    find_reason,
    issue,
    issue_with_basic,
    read_claims,
    rotate,
)
from tests.harness.audit import summarize, wait_for_events
from tests.harness.client import Client, Rejected, attempt
from tests.harness.services import LIFETIMES
from tests.harness.sql import Sql
from tests.harness.waiting import eventually


@pytest.fixture
def created(admin: Client) -> CreateClientResponse:
    """A new machine client."""
    return create_client(admin)


def test_created_client_obtains_a_token_with_its_scopes(auth: Client, created: CreateClientResponse) -> None:
    token = issue(auth, created)
    claims, client_id = read_claims(token), client_of(created).id
    assert (token.token_type, token.expires_in, token.scope) == ("Bearer", LIFETIMES.access_token, SCOPE)
    assert (claims["sub"], claims["client_id"], claims["role"]) == (client_id, client_id, "CLIENT")
    assert (claims["scope"], claims["aud"], claims["exp"] - claims["iat"]) == (SCOPE, "pulsetrack", 900)


def test_secret_is_not_shown_again(admin: Client, created: CreateClientResponse) -> None:
    client = admin.get_client(GetClientRequest(id=client_of(created).id))
    [first, *_] = admin.list_clients(ListClientsRequest()).clients
    assert client == first == created.client
    assert (client.display_name, client.scope, client.state) == ("Export", SCOPE, ClientState.ACTIVE)


def test_secret_is_stored_as_a_digest(created: CreateClientResponse, sql: Sql) -> None:
    [row] = sql("SELECT s::text AS stored FROM client_secrets s WHERE client_id = $1", client_of(created).id)
    assert created.client_secret not in row["stored"]
    assert len(created.client_secret) == 43  # 256 bits in Base64


def test_scopes_are_ordered_and_unique(admin: Client) -> None:
    request = CreateClientRequest(display_name="x", scope="statistics.read patients.read statistics.read")
    assert admin.create_client(request).client.scope == SCOPE


def test_every_scope_of_the_protos_can_be_granted(admin: Client) -> None:
    scope = " ".join(sorted(all_scopes()))
    assert admin.create_client(CreateClientRequest(display_name="x", scope=scope)).client.scope == scope


@pytest.mark.parametrize("scope", ["", "patients", "patients.read,billing.read", "patientsXread", " patients.read"])
def test_unknown_scope_is_rejected(admin: Client, scope: str) -> None:
    with pytest.raises(Rejected) as rejected:
        admin.create_client(CreateClientRequest(display_name="x", scope=scope))
    assert list(rejected.value.violations) == ["scope"]


@pytest.mark.parametrize("name", ["", " ", "\u200b", "a\0b", "a\nb", "a\u2028b", "a\u202eb", "x" * 101])
def test_invalid_display_name_is_rejected(admin: Client, name: str) -> None:
    with pytest.raises(Rejected) as rejected:
        admin.create_client(CreateClientRequest(display_name=name, scope=SCOPE))
    assert list(rejected.value.violations) == ["display_name"]


def test_expiration_in_the_past_is_rejected(admin: Client) -> None:
    with pytest.raises(Rejected) as rejected:
        admin.create_client(CreateClientRequest(display_name="x", scope=SCOPE, expire_time=PAST))
    assert rejected.value.violations == {"expire_time": "must be in the future"}


def test_authorization_header_replaces_the_fields(auth: Client, created: CreateClientResponse) -> None:
    client_id = client_of(created).id
    credentials = f"{client_id}:{created.client_secret}"
    assert issue_with_basic(auth, credentials).scope == SCOPE
    assert issue_with_basic(auth, credentials, client_id=client_id).scope == SCOPE
    assert issue_with_basic(auth, credentials.replace("-", "%2D")).scope == SCOPE


@pytest.mark.parametrize("field", ["client_id", "client_secret"])
def test_two_credentials_are_rejected(auth: Client, created: CreateClientResponse, field: str) -> None:
    with pytest.raises(Rejected) as rejected:
        issue_with_basic(auth, f"{client_of(created).id}:{created.client_secret}", **{field: "another"})
    assert list(rejected.value.violations) == [field]


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic /w==", "Basic YQ==", "Bearer YQ=="])
def test_malformed_header_is_like_wrong_credentials(auth: Client, header: str) -> None:
    request = IssueClientTokenRequest(grant_type="client_credentials")
    response = attempt(lambda: auth.issue_client_token(request, metadata=(("authorization", header),)))
    assert find_reason(response) == "INVALID_CREDENTIALS"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("client_secret", "wrong"),
        ("client_secret", ""),
        ("client_id", "01932c07-209c-7e1a-8c2b-3f5d6a7b8c9d"),
        ("client_id", ""),
        ("client_id", "no uuid\x00"),
    ],
)
def test_wrong_credentials_return_the_same_error(
    auth: Client, created: CreateClientResponse, field: str, value: str
) -> None:
    with pytest.raises(Rejected) as rejected:
        issue(auth, created, **{field: value})
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS")
    assert rejected.value.message == "The credentials are not valid."


def test_secret_of_another_client_is_rejected(auth: Client, admin: Client, created: CreateClientResponse) -> None:
    other = admin.create_client(CreateClientRequest(display_name="Other", scope=SCOPE))
    response = attempt(lambda: issue(auth, created, client_secret=other.client_secret))
    assert find_reason(response) == "INVALID_CREDENTIALS"


def test_other_grant_types_are_rejected(auth: Client, created: CreateClientResponse) -> None:
    response = attempt(lambda: issue(auth, created, grant_type="password"))
    assert (response.code, response.reason) == (StatusCode.INVALID_ARGUMENT, "GRANT_TYPE_UNSUPPORTED")


def test_requested_scope_narrows_the_token(auth: Client, created: CreateClientResponse) -> None:
    token = issue(auth, created, scope="patients.read")
    assert (token.scope, read_claims(token)["scope"]) == ("patients.read", "patients.read")


@pytest.mark.parametrize("scope", ["billing.read", "patients.read billing.read", "unknown"])
def test_scope_that_the_client_lacks_is_rejected(auth: Client, created: CreateClientResponse, scope: str) -> None:
    response = attempt(lambda: issue(auth, created, scope=scope))
    assert (response.code, response.reason) == (StatusCode.INVALID_ARGUMENT, "SCOPE_INVALID")


def test_expired_client_is_rejected(auth: Client, admin: Client, sql: Sql) -> None:
    expire_time = datetime.now(UTC) + timedelta(minutes=1)
    created = admin.create_client(CreateClientRequest(display_name="x", scope=SCOPE, expire_time=expire_time))
    assert issue(auth, created).expires_in <= 60
    sql("UPDATE clients SET expire_time = now() WHERE id = $1", created.client.id)
    assert find_reason(attempt(lambda: issue(auth, created))) == "INVALID_CREDENTIALS"
    assert admin.get_client(GetClientRequest(id=created.client.id)).state == ClientState.EXPIRED


def test_last_use_is_written_at_most_once_a_minute(
    auth: Client, admin: Client, created: CreateClientResponse, sql: Sql
) -> None:
    def read_last_use() -> datetime:
        last: datetime = admin.get_client(GetClientRequest(id=client_of(created).id)).last_use_time
        return last

    assert client_of(created).last_use_time is None
    issue(auth, created)
    first = read_last_use()
    issue(auth, created)
    assert read_last_use() == first
    sql("UPDATE clients SET last_use_time = $2 WHERE id = $1", client_of(created).id, first - _USE_ACCURACY)
    issue(auth, created)
    assert read_last_use() > first


@pytest.mark.parametrize("call", ["get_client", "rotate_client_secret", "revoke_client"])
def test_unknown_client_is_not_found(admin: Client, call: str) -> None:
    requests = {
        "get_client": GetClientRequest,
        "rotate_client_secret": RotateClientSecretRequest,
        "revoke_client": RevokeClientRequest,
    }
    with pytest.raises(Rejected) as rejected:
        getattr(admin, call)(requests[call](id=str(uuid4())))
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.NOT_FOUND, "CLIENT_NOT_FOUND")


def test_changes_and_refusals_are_security_events(auth: Client, admin: Client, created: CreateClientResponse) -> None:
    rotate(admin, created)
    attempt(lambda: issue(auth, created, client_secret="wrong"))
    admin.revoke_client(RevokeClientRequest(id=client_of(created).id))
    expected = ["CREATED", "SECRET_ROTATED", "TOKEN_REFUSED", "REVOKED"]

    def is_recorded() -> bool:
        request = ListSecurityEventsRequest(subject_id=client_of(created).id)
        events = admin.list_security_events(request).security_events
        return {str(event.type.name) for event in events} == {f"CLIENT_{name}" for name in expected}

    eventually(is_recorded)


def test_calls_are_recorded_with_the_client(auth: Client, admin: Client, created: CreateClientResponse) -> None:
    new: CreateUserRequest = build_create_user(role=Role.ADMIN)
    other = auth.with_token((admin.create_user(new), auth.login(build_login(new)))[1].access_token)
    issue(auth, created)
    attempt(lambda: issue(auth, created, client_secret="wrong"))
    other.revoke_client(RevokeClientRequest(id=client_of(created).id))
    events = wait_for_events(admin, "search_user_access_events", 4, subject_id=client_of(created).id)
    outcomes = [(method, outcome) for method, outcome, _ in summarize(events)]
    assert outcomes == [
        ("CreateClient", "OK"),
        ("IssueClientToken", "OK"),
        ("IssueClientToken", "UNAUTHENTICATED"),
        ("RevokeClient", "OK"),
    ]
    assert [event.actor_id for event in events[1:3]] == [client_of(created).id, ""]
