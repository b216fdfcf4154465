"""Access through the gateway, over gRPC and REST, for every method and every kind of caller."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from services.common.protobuf.contract import AccessKind, Method, all_methods
from tests.e2e.sessions import Session, fill_path, service_token
from tests.harness.client import Rejected, attempt
from tools.instance import Instance

CALLERS = ("anonymous", "user", "admin", "service")
ACCESS_ERRORS = {
    "TOKEN_MISSING": (grpc.StatusCode.UNAUTHENTICATED, 401),
    "TOKEN_INVALID": (grpc.StatusCode.UNAUTHENTICATED, 401),
    "ROLE_REQUIRED": (grpc.StatusCode.PERMISSION_DENIED, 403),
}
METHODS = list(all_methods())


def expected_reason(method: Method, caller: str) -> str | None:
    """Returns the reason with which the gateway or the service rejects the caller, or None if the caller has access."""
    if method.access.kind is AccessKind.PUBLIC:
        return None
    if caller == "anonymous":
        return "TOKEN_MISSING"
    if caller == "service":
        return "TOKEN_INVALID"  # the token has another audience
    return None if caller.upper() in method.access.roles else "ROLE_REQUIRED"


@pytest.fixture(scope="module")
def service(system: Instance) -> Iterator[Session]:
    """The patient service as a client of the gateway."""
    with Session.open(system, service_token(system)) as session:
        yield session


@pytest.fixture
def caller(request: pytest.FixtureRequest, system: Instance) -> Iterator[Session]:
    if request.param == "anonymous":
        with Session.open(system) as session:
            yield session
    else:
        yield request.getfixturevalue(request.param)


@pytest.mark.parametrize(("caller", "kind"), [(kind, kind) for kind in CALLERS], indirect=["caller"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_access_over_grpc(method: Method, caller: Session, kind: str) -> None:
    response = attempt(lambda: caller.client("auth").call(method.path, b""))
    is_rejected = isinstance(response, Rejected) and response.reason in ACCESS_ERRORS
    assert (response.reason if is_rejected else None) == expected_reason(method, kind)
    assert not is_rejected or response.code is ACCESS_ERRORS[response.reason][0]


@pytest.mark.parametrize(("caller", "kind"), [(kind, kind) for kind in CALLERS], indirect=["caller"])
@pytest.mark.parametrize("method", [m for m in METHODS if m.http], ids=lambda method: method.name)
def test_access_over_rest(method: Method, caller: Session, kind: str) -> None:
    [http] = method.http
    response = caller.request(http.verb, fill_path(http.path), json={} if http.body else None)
    reason: Any = None
    if response.is_error:
        found = response.json()["details"][0]["reason"]
        reason = found if found in ACCESS_ERRORS else None
        assert reason is None or response.status_code == ACCESS_ERRORS[reason][1]
    assert reason == expected_reason(method, kind)
