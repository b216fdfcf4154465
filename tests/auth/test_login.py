"""Login."""

import jwt
import pytest
from argon2 import PasswordHasher
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, LoginRequest, TokenPair
from tests.auth.factory import build_login, build_sign_up, create_user
from tests.harness.client import Client, Rejected
from tests.harness.services import LIFETIMES
from tests.harness.sql import Sql


def test_login_returns_tokens_of_the_user(auth: Client) -> None:
    new = create_user(auth)
    session: TokenPair = auth.login(build_login(new))
    assert (session.token_type, session.expires_in) == ("Bearer", LIFETIMES.access_token)
    assert auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest()).email == new.email


def test_access_token_conforms_to_rfc_9068(auth: Client) -> None:
    new = build_sign_up()
    user = auth.sign_up(new)
    token = auth.login(build_login(new)).access_token
    header, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    assert (header["alg"], header["typ"]) == ("ES256", "at+jwt")
    assert header["kid"]
    assert (claims["iss"], claims["aud"], claims["sub"]) == ("pulsetrack-auth", "pulsetrack", user.id)
    assert claims["role"] == "USER"
    assert claims["exp"] - claims["iat"] == LIFETIMES.access_token
    assert claims.keys() == {"iss", "aud", "sub", "role", "jti", "iat", "nbf", "exp", "token_version", "sid"}


def test_every_login_returns_different_tokens(auth: Client) -> None:
    new = create_user(auth)
    first, second = auth.login(build_login(new)), auth.login(build_login(new))
    assert first.access_token != second.access_token
    assert first.refresh_token != second.refresh_token


def test_email_is_case_insensitive(auth: Client) -> None:
    new = create_user(auth)
    assert auth.login(build_login(new, email=new.email.upper())).access_token


def test_password_is_case_sensitive(auth: Client) -> None:
    new = create_user(auth)
    assert reject_login(auth, build_login(new, password=new.password.upper())).reason == "INVALID_CREDENTIALS"


def test_wrong_password_and_unknown_email_return_the_same_response(auth: Client) -> None:
    new = create_user(auth)
    wrong = reject_login(auth, build_login(new, password="something else"))
    unknown = reject_login(auth, build_login(build_sign_up()))
    assert wrong.status == unknown.status
    assert (wrong.code, wrong.reason) == (StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS")
    assert (unknown.code, unknown.message) == (wrong.code, wrong.message)


@pytest.mark.parametrize(("password", "hashes"), [("something else", 1), ("cafe\u0301 something else", 2)])
def test_unknown_email_costs_as_many_hashes_as_a_wrong_password(
    auth: Client, monkeypatch: pytest.MonkeyPatch, password: str, hashes: int
) -> None:
    verified: list[str] = []
    verify = PasswordHasher.verify

    def count(hasher: PasswordHasher, stored_hash: str, text: str) -> bool:
        verified.append(text)
        return verify(hasher, stored_hash, text)

    known, unknown = create_user(auth), build_sign_up()
    monkeypatch.setattr(PasswordHasher, "verify", count)
    for new in (known, unknown):
        verified.clear()
        reject_login(auth, build_login(new, password=password))
        assert len(verified) == hashes


@pytest.mark.parametrize("email", ["no address", "' OR true --", "%", "\U0001f600" * 254])
def test_malformed_email_is_treated_as_unknown(auth: Client, email: str) -> None:
    assert reject_login(auth, LoginRequest(email=email, password="whatever it is")).reason == "INVALID_CREDENTIALS"


@pytest.mark.parametrize(
    ("field", "value"),
    [("email", ""), ("email", "x" * 255), ("email", "ana\x00@clinic.test"), ("password", ""), ("password", "x" * 513)],
)
def test_invalid_field_is_reported(auth: Client, field: str, value: str) -> None:
    rejected = reject_login(auth, build_login(build_sign_up(), **{field: value}))
    assert (rejected.code, rejected.reason) == (StatusCode.INVALID_ARGUMENT, "FIELDS_INVALID")
    assert list(rejected.violations) == [field]


def test_only_the_right_password_reveals_that_a_user_is_disabled(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    sql("UPDATE users SET disabled = true WHERE email = $1", new.email)
    right = reject_login(auth, build_login(new))
    assert (right.code, right.reason) == (StatusCode.PERMISSION_DENIED, "USER_DISABLED")
    assert reject_login(auth, build_login(new, password="something else")).reason == "INVALID_CREDENTIALS"


def reject_login(auth: Client, request: LoginRequest) -> Rejected:
    """Returns the error of a login. All calls use the same request id, which makes errors comparable."""
    with pytest.raises(Rejected) as rejected:
        auth.login(request, metadata=(("x-request-id", "the same"),))
    return rejected.value
