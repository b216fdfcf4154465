"""Access tokens of every kind of caller in docs/authorization.md."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

from services.common.protobuf.contract import SERVICES, AccessKind, methods
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
    for token in ended.values():
        wait_until_rejected(system, token)
    with Session.sign_up(system) as user:
        valid = {"no token": "", "USER": user.token, "ADMIN": admin.token, "service": service_token(system)}
        yield valid | ended


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
