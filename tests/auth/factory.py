"""Users to be, and their sessions."""

from typing import Any
from uuid import uuid4

from gen.pulsetrack.auth.v1 import CreateUserRequest, LoginRequest, RefreshTokenRequest, SignUpRequest, TokenPair
from tests.harness.client import Client, Rejected, attempt

PASSWORD = "correct horse battery"


def build_sign_up(**fields: str) -> SignUpRequest:
    """Returns a request that may succeed, for a user unlike any other, with the fields given."""
    name = uuid4().hex
    return SignUpRequest(**({"email": f"{name}@clinic.test", "username": name, "password": PASSWORD} | fields))


def build_create_user(**fields: Any) -> CreateUserRequest:
    """Returns an admin's request that may succeed, for a user unlike any other, with the fields given."""
    name = uuid4().hex
    return CreateUserRequest(**({"email": f"{name}@clinic.test", "username": name, "password": PASSWORD} | fields))


def build_login(new: SignUpRequest | CreateUserRequest, **fields: str) -> LoginRequest:
    """Returns the request by which such a user logs in, with the fields given."""
    return LoginRequest(**({"email": new.email, "password": new.password} | fields))


def create_user(auth: Client, **fields: str) -> SignUpRequest:
    """Signs a user up and returns how he did."""
    new = build_sign_up(**fields)
    auth.sign_up(new)
    return new


def create_session(auth: Client) -> TokenPair:
    """Logs a new user in."""
    session: TokenPair = auth.login(build_login(create_user(auth)))
    return session


def can_refresh(auth: Client, session: TokenPair) -> bool:
    """Tells whether a session can go on, by going on with it."""
    gone_on = attempt(lambda: auth.refresh_token(RefreshTokenRequest(refresh_token=session.refresh_token)))
    if isinstance(gone_on, Rejected):
        assert gone_on.reason == "REFRESH_TOKEN_INVALID", gone_on
    return not isinstance(gone_on, Rejected)
