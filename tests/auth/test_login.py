"""Login."""

import jwt
import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, LoginRequest, TokenPair
from tests.auth.factory import build_login, build_sign_up, create_user
from tests.harness.client import Client, Rejected
from tests.harness.services import LIFETIMES
from tests.harness.sql import Sql


def test_a_user_who_logs_in_gets_tokens_of_his_own(auth: Client) -> None:
    new = create_user(auth)
    session: TokenPair = auth.login(build_login(new))
    assert (session.token_type, session.expires_in) == ("Bearer", LIFETIMES.access_token)
    assert auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest()).email == new.email


def test_an_access_token_is_as_rfc_9068_has_it(auth: Client) -> None:
    new = build_sign_up()
    user = auth.sign_up(new)
    token = auth.login(build_login(new)).access_token
    header, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    assert (header["alg"], header["typ"]) == ("ES256", "at+jwt")
    assert header["kid"]
    assert (claims["iss"], claims["aud"], claims["sub"]) == ("pulsetrack-auth", "pulsetrack", user.id)
    assert claims["role"] == "USER"
    assert claims["exp"] - claims["iat"] == LIFETIMES.access_token
    assert claims.keys() == {"iss", "aud", "sub", "role", "jti", "iat", "nbf", "exp", "token_version"}


def test_every_token_is_unlike_every_other(auth: Client) -> None:
    new = create_user(auth)
    first, second = auth.login(build_login(new)), auth.login(build_login(new))
    assert first.access_token != second.access_token
    assert first.refresh_token != second.refresh_token


def test_an_email_is_compared_without_case(auth: Client) -> None:
    new = create_user(auth)
    assert auth.login(build_login(new, email=new.email.upper())).access_token


def test_a_password_is_compared_with_case(auth: Client) -> None:
    new = create_user(auth)
    assert refusal(auth, build_login(new, password=new.password.upper())).reason == "INVALID_CREDENTIALS"


def test_a_wrong_password_and_an_unknown_email_get_the_same_answer(auth: Client) -> None:
    new = create_user(auth)
    wrong = refusal(auth, build_login(new, password="something else"))
    unknown = refusal(auth, build_login(build_sign_up()))
    assert wrong.status == unknown.status
    assert (wrong.code, wrong.reason) == (StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS")
    assert (unknown.code, unknown.message) == (wrong.code, wrong.message)


@pytest.mark.parametrize("email", ["nobody", "' OR true --", "%", "\U0001f600" * 254])
def test_an_email_that_nobody_can_have_is_just_unknown(auth: Client, email: str) -> None:
    assert refusal(auth, LoginRequest(email=email, password="whatever it is")).reason == "INVALID_CREDENTIALS"


@pytest.mark.parametrize(
    ("field", "value"),
    [("email", ""), ("email", "x" * 255), ("email", "ana\x00@clinic.test"), ("password", ""), ("password", "x" * 129)],
)
def test_a_field_that_breaks_its_rule_is_named(auth: Client, field: str, value: str) -> None:
    refused = refusal(auth, build_login(build_sign_up(), **{field: value}))
    assert (refused.code, refused.reason) == (StatusCode.INVALID_ARGUMENT, "FIELDS_INVALID")
    assert list(refused.violations) == [field]


def test_a_disabled_user_learns_it_only_with_the_right_password(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    sql("UPDATE users SET disabled = true WHERE email = $1", new.email)
    right = refusal(auth, build_login(new))
    assert (right.code, right.reason) == (StatusCode.PERMISSION_DENIED, "USER_DISABLED")
    assert refusal(auth, build_login(new, password="something else")).reason == "INVALID_CREDENTIALS"


def refusal(auth: Client, request: LoginRequest) -> Rejected:
    """Returns how a log-in is refused, to calls with the same request id."""
    with pytest.raises(Rejected) as refused:
        auth.login(request, metadata=(("x-request-id", "the same"),))
    return refused.value
