"""IssueServiceToken."""

import jwt
import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, IssueServiceTokenRequest, LoginRequest, ServiceToken
from tests.auth.factory import create_session
from tests.harness.client import Client, Rejected
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD, CLIENT_ID, CLIENT_SECRET, LIFETIMES

VALID_REQUEST = IssueServiceTokenRequest(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)


def test_valid_client_secret_returns_a_service_token(auth: Client) -> None:
    issued: ServiceToken = auth.issue_service_token(VALID_REQUEST)
    assert (issued.token_type, issued.expires_in) == ("Bearer", LIFETIMES.service_token)
    claims = jwt.decode(issued.access_token, options={"verify_signature": False})
    assert (claims["sub"], claims["role"], claims["aud"]) == (CLIENT_ID, "SERVICE", "pulsetrack-services")
    assert claims["exp"] - claims["iat"] == LIFETIMES.service_token


@pytest.mark.parametrize(
    ("client_id", "client_secret"),
    [
        (CLIENT_ID, "wrong"),
        (CLIENT_ID, CLIENT_SECRET.upper()),
        (CLIENT_ID, f"{CLIENT_SECRET} "),
        (CLIENT_ID, "\u00e9"),
        (CLIENT_ID.upper(), CLIENT_SECRET),
        ("unknown", CLIENT_SECRET),
        ("a\x00b", CLIENT_SECRET),
    ],
)
def test_wrong_secret_and_unknown_client_return_the_same_response(
    auth: Client, client_id: str, client_secret: str
) -> None:
    with pytest.raises(Rejected) as rejected:
        auth.issue_service_token(IssueServiceTokenRequest(client_id=client_id, client_secret=client_secret))
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS")
    assert rejected.value.message == "The credentials are not valid."


@pytest.mark.parametrize("field", ["client_id", "client_secret"])
def test_missing_field_is_reported(auth: Client, field: str) -> None:
    fields = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, field: ""}
    with pytest.raises(Rejected) as rejected:
        auth.issue_service_token(IssueServiceTokenRequest(**fields))
    assert list(rejected.value.violations) == [field]


def test_user_token_is_rejected_even_with_the_secret(auth: Client) -> None:
    admin = auth.login(LoginRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD))
    for session in (create_session(auth), admin):
        with pytest.raises(Rejected) as rejected:
            auth.with_token(session.access_token).issue_service_token(VALID_REQUEST)
        assert (rejected.value.code, rejected.value.reason) == (StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")


def test_service_token_is_rejected_by_user_methods(auth: Client) -> None:
    token = auth.issue_service_token(VALID_REQUEST).access_token
    with pytest.raises(Rejected) as rejected:
        auth.with_token(token).get_current_user(GetCurrentUserRequest())
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")
