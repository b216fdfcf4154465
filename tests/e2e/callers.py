"""Access tokens of every kind of caller in docs/authorization.md."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

import httpx

from services.common.protobuf.contract import SERVICES, AccessKind, all_scopes, methods
from tests.e2e.sessions import PASSWORD, Session, service_token
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.waiting import eventually
from tools.instance import Instance

End = Callable[[Session, Session, str], object]
"""Withdraws the access of a user. Takes the admin, the user and the user's path."""


@contextmanager
def open_tokens(system: Instance, admin: Session) -> Iterator[Mapping[str, str]]:
    """Yields a token per kind of caller. Every service rejects those that are no longer valid."""
    ended = {
        "disabled USER": end_access(system, admin, "ROLE_USER", disable),
        "disabled ADMIN": end_access(system, admin, "ROLE_ADMIN", disable),
        "USER, session ended": end_access(system, admin, "ROLE_USER", end_session),
        "ADMIN, session ended": end_access(system, admin, "ROLE_ADMIN", end_session),
        "demoted ADMIN": end_access(system, admin, "ROLE_ADMIN", demote),
    }
    revoked_id, ended["revoked client"] = create_client(system, admin, *all_scopes())
    admin.post(f"/v1/clients/{revoked_id}:revoke", {})
    for token in ended.values():
        wait_until_rejected(system, token)
    with Session.sign_up(system) as user:
        valid = {"no token": "", "USER": user.token, "ADMIN": admin.token, "service": service_token(system)}
        valid["client"] = create_client(system, admin, *all_scopes())[1]
        valid["client, patients.read"] = create_client(system, admin, "patients.read")[1]
        yield valid | ended


def create_client(system: Instance, admin: Session, *scopes: str) -> tuple[str, str]:
    """Creates a machine client with scopes, and returns its id and a token."""
    created = admin.post("/v1/clients", {"displayName": "Test", "scope": " ".join(scopes)})
    credentials = {"client_id": created["client"]["id"], "client_secret": created["clientSecret"]}
    form = {"grant_type": "client_credentials", **credentials}
    response = httpx.post(f"{system.url}/v1/auth/token", data=form)
    response.raise_for_status()
    return created["client"]["id"], response.json()["access_token"]


def end_access(system: Instance, admin: Session, role: str, end: End) -> str:
    """Returns the token of a new user whose access was withdrawn."""
    name = uuid4().hex
    new = {"email": f"{name}@clinic.test", "username": name, "password": PASSWORD, "role": role}
    path = f"/v1/users/{admin.post('/v1/users', new)['id']}"
    with Session.log_in(system, new["email"], PASSWORD) as session:
        end(admin, session, path)
        return session.token


def disable(admin: Session, session: Session, path: str) -> None:
    admin.rest.patch(path, json={"disabled": True}).raise_for_status()


def demote(admin: Session, session: Session, path: str) -> None:
    admin.rest.patch(path, json={"role": "ROLE_USER"}).raise_for_status()


def end_session(admin: Session, session: Session, path: str) -> None:
    session.post("/v1/auth/me/sessions:revoke", {"includeCurrent": True})


def wait_until_rejected(system: Instance, token: str) -> None:
    """Waits until every service rejects a token."""
    for service, port in system.state().ports.items():
        if service not in SERVICES:
            continue
        path = next(each.path for each in methods(SERVICES[service]) if each.access.kind is AccessKind.USERS)
        with connect(port, service, token) as client:
            eventually(partial(is_rejected, client, path))


def is_rejected(client: Client, path: str) -> bool:
    response = attempt(lambda: client.call(path, b""))
    return isinstance(response, Rejected) and response.code.name in {"UNAUTHENTICATED", "PERMISSION_DENIED"}
