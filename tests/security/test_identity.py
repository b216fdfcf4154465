"""Spoofed identities, and calls with insufficient roles."""

import struct
from functools import partial

import grpc
import httpx
import pytest

from services.common.protobuf.contract import SERVICES, AccessKind, Method, all_methods, methods
from tests.e2e.sessions import Session, fill_path
from tests.harness.client import Rejected, attempt, connect
from tests.harness.rest_bodies import content_type
from tests.harness.rest_errors import read_reason
from tools.instance import Instance

SPOOFED = {
    "x-user-id": "00000000-0000-7000-8000-000000000000",
    "x-user-role": "ADMIN",
    "x-jwt-payload": "eyJyb2xlIjoiQURNSU4ifQ",
    "x-jwt-role": "ADMIN",
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-user": "admin",
    "x-envoy-internal": "true",
    "x-envoy-peer-metadata": "patient",
    "x-remote-user": "admin",
}
CLOSED = [method for method in all_methods() if method.access.kind is not AccessKind.PUBLIC]
FOR_ADMINS = [m for m in CLOSED if m.access.kind is AccessKind.USERS and "USER" not in m.access.roles]
FOR_SERVICES = [
    m for m in CLOSED if m.access.kind in {AccessKind.SERVICES, AccessKind.CLIENT_CREDENTIALS, AccessKind.INTERNAL}
]


def get_name(method: Method) -> str:
    return method.name


@pytest.fixture(params=["user", "admin"])
def session(request: pytest.FixtureRequest) -> Session:
    """A session of a user or an admin."""
    session: Session = request.getfixturevalue(request.param)
    return session


@pytest.mark.parametrize("method", CLOSED, ids=get_name)
def test_identity_headers_do_not_replace_a_token(system: Instance, method: Method) -> None:
    with Session.open(system) as anonymous:
        response = attempt(lambda: anonymous.client("auth").call(method.path, b"", tuple(SPOOFED.items())))
        assert get_reason(response) == "TOKEN_MISSING"
        for http in method.http:
            headers = SPOOFED | content_type(method, http)
            rest = anonymous.rest.request(
                http.verb, fill_path(http.path), headers=headers, json={} if http.body else None
            )
            assert read_reason(rest) == "TOKEN_MISSING"


@pytest.mark.parametrize("method", FOR_ADMINS, ids=get_name)
def test_identity_headers_grant_no_role(user: Session, method: Method) -> None:
    response = attempt(lambda: user.client("auth").call(method.path, b"", tuple(SPOOFED.items())))
    assert get_reason(response) == "ROLE_REQUIRED"
    for http in method.http:
        headers = SPOOFED | content_type(method, http)
        rest = user.rest.request(http.verb, fill_path(http.path), headers=headers, json={} if http.body else None)
        assert read_reason(rest) == "ROLE_REQUIRED"


@pytest.mark.parametrize("method", FOR_SERVICES, ids=get_name)
def test_user_cannot_call_service_methods(system: Instance, session: Session, method: Method) -> None:
    assert get_reason(attempt(lambda: session.client("auth").call(method.path, b""))) == "ROLE_REQUIRED"
    as_json = session.rest.post(method.path, json={})
    assert (as_json.status_code, as_json.json()["details"][0]["reason"]) == (404, "ROUTE_NOT_FOUND")
    in_browser = call_grpc_web(system, method.path, session.token)
    assert in_browser.headers["grpc-status"] == str(grpc.StatusCode.PERMISSION_DENIED.value[0])


@pytest.mark.parametrize("service", SERVICES)
def test_service_port_rejects_calls_without_a_token(system: Instance, service: str) -> None:
    with connect(system.state().ports[service], service) as client:
        for method in methods(SERVICES[service]):
            if method.access.kind in {AccessKind.USERS, AccessKind.SERVICES}:
                response = attempt(partial(client.call, method.path, b"", tuple(SPOOFED.items())))
                assert get_reason(response) == "TOKEN_MISSING"


@pytest.mark.parametrize("service", SERVICES)
def test_service_port_enforces_roles(system: Instance, user: Session, service: str) -> None:
    with connect(system.state().ports[service], service, user.token) as client:
        for method in methods(SERVICES[service]):
            if method in FOR_SERVICES or method in FOR_ADMINS:
                response = attempt(partial(client.call, method.path, b"", tuple(SPOOFED.items())))
                assert get_reason(response) == "ROLE_REQUIRED"


def get_reason(response: object) -> str:
    """Returns the reason of a rejected call, or an empty string."""
    return response.reason if isinstance(response, Rejected) else ""


def call_grpc_web(system: Instance, path: str, token: str) -> httpx.Response:
    """Calls a method over gRPC-Web with an empty message."""
    headers = {"content-type": "application/grpc-web+proto", "authorization": f"Bearer {token}"}
    return httpx.post(system.url + path, content=struct.pack(">BI", 0, 0), headers=headers, timeout=20)
