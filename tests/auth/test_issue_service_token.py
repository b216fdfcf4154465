"""IssueServiceToken."""

import jwt
import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, IssueServiceTokenRequest, LoginRequest, ServiceToken
from tests.auth.factory import create_session
from tests.harness.client import Client, Rejected
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD, CLIENT_ID, CLIENT_SECRET, LIFETIMES

RIGHT = IssueServiceTokenRequest(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)


def test_a_service_that_knows_its_secret_gets_a_token(auth: Client) -> None:
    issued: ServiceToken = auth.issue_service_token(RIGHT)
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
        ("nobody", CLIENT_SECRET),
        ("a\x00b", CLIENT_SECRET),
    ],
)
def test_a_wrong_secret_and_an_unknown_client_get_the_same_answer(
    auth: Client, client_id: str, client_secret: str
) -> None:
    with pytest.raises(Rejected) as refused:
        auth.issue_service_token(IssueServiceTokenRequest(client_id=client_id, client_secret=client_secret))
    assert (refused.value.code, refused.value.reason) == (StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS")
    assert refused.value.message == "The credentials are not valid."


@pytest.mark.parametrize("field", ["client_id", "client_secret"])
def test_a_field_that_is_missing_is_named(auth: Client, field: str) -> None:
    fields = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, field: ""}
    with pytest.raises(Rejected) as refused:
        auth.issue_service_token(IssueServiceTokenRequest(**fields))
    assert list(refused.value.violations) == [field]


def test_a_person_gets_none_though_he_knows_the_secret(auth: Client) -> None:
    admin = auth.login(LoginRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD))
    for session in (create_session(auth), admin):
        with pytest.raises(Rejected) as refused:
            auth.with_token(session.access_token).issue_service_token(RIGHT)
        assert (refused.value.code, refused.value.reason) == (StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")


def test_a_service_token_is_no_persons(auth: Client) -> None:
    token = auth.issue_service_token(RIGHT).access_token
    with pytest.raises(Rejected) as refused:
        auth.with_token(token).get_current_user(GetCurrentUserRequest())
    assert (refused.value.code, refused.value.reason) == (StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")
