"""Requests that create users, and sessions of users."""

from typing import Any
from uuid import uuid4

from gen.pulsetrack.auth.v1 import CreateUserRequest, LoginRequest, RefreshTokenRequest, SignUpRequest, TokenPair
from tests.harness.client import Client, Rejected, attempt

PASSWORD = "correct horse battery"


def build_sign_up(**fields: str) -> SignUpRequest:
    """Returns a valid request for a unique user. The given fields replace the defaults."""
    name = uuid4().hex
    return SignUpRequest(**({"email": f"{name}@clinic.test", "username": name, "password": PASSWORD} | fields))


def build_create_user(**fields: Any) -> CreateUserRequest:
    """Returns a valid admin request for a unique user. The given fields replace the defaults."""
    name = uuid4().hex
    return CreateUserRequest(**({"email": f"{name}@clinic.test", "username": name, "password": PASSWORD} | fields))


def build_login(new: SignUpRequest | CreateUserRequest, **fields: str) -> LoginRequest:
    """Returns the login request of a user. The given fields replace the defaults."""
    return LoginRequest(**({"email": new.email, "password": new.password} | fields))


def create_user(auth: Client, **fields: str) -> SignUpRequest:
    """Signs a user up and returns the request."""
    new = build_sign_up(**fields)
    auth.sign_up(new)
    return new


def create_session(auth: Client) -> TokenPair:
    """Signs a user up, logs in, and returns the tokens."""
    session: TokenPair = auth.login(build_login(create_user(auth)))
    return session


def can_refresh(auth: Client, session: TokenPair) -> bool:
    """Returns whether a session can be refreshed. Uses its refresh token."""
    response = attempt(lambda: auth.refresh_token(RefreshTokenRequest(refresh_token=session.refresh_token)))
    if isinstance(response, Rejected):
        assert response.reason == "REFRESH_TOKEN_INVALID", response
    return not isinstance(response, Rejected)
