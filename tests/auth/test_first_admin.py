"""The first admin, created by auth from its settings."""

from collections.abc import Callable

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, LoginRequest, User
from gen.pulsetrack.options.v1 import Role
from tests.auth.factory import PASSWORD, create_user
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD, serve_auth


@pytest.fixture
def url(new_database: Callable[[str], str]) -> str:
    """An empty database."""
    return new_database("auth")


def test_first_start_creates_the_first_admin(background: Background, url: str) -> None:
    with background.during(serve_auth(url)) as port, connect(port, "auth") as auth:
        admin = login(auth, ADMIN_EMAIL, ADMIN_PASSWORD)
    assert (admin.email, admin.role) == (ADMIN_EMAIL, Role.ADMIN)


def test_later_start_does_not_change_the_admin(background: Background, url: str) -> None:
    with background.during(serve_auth(url)) as port, connect(port, "auth") as auth:
        admin = login(auth, ADMIN_EMAIL, ADMIN_PASSWORD)
    again = serve_auth(url, admin_email=ADMIN_EMAIL.upper(), admin_password="another password")
    with background.during(again) as port, connect(port, "auth") as auth:
        assert login(auth, ADMIN_EMAIL, ADMIN_PASSWORD) == admin
        with pytest.raises(Rejected) as rejected:
            login(auth, ADMIN_EMAIL, "another password")
        assert rejected.value.code is StatusCode.UNAUTHENTICATED


def test_existing_user_with_the_admin_email_is_not_promoted(background: Background, url: str) -> None:
    with background.during(serve_auth(url)) as port, connect(port, "auth") as auth:
        new = create_user(auth)
    with background.during(serve_auth(url, admin_email=new.email)) as port, connect(port, "auth") as auth:
        assert login(auth, new.email, PASSWORD).role is Role.USER


def login(auth: Client, email: str, password: str) -> User:
    """Logs in, and returns the user."""
    session = auth.login(LoginRequest(email=email, password=password))
    user: User = auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest())
    return user
