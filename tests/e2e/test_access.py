"""Who gets in through the gateway, at both doors: a row for every method of the contract and every kind of caller."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from services.common.protobuf.contract import AccessKind, Method, all_methods
from tests.e2e.sessions import Session, fill_path, service_token
from tests.harness.client import Rejected, attempt
from tools.instance import Instance

CALLERS = ("nobody", "user", "admin", "service")
OUTSIDE = {
    "TOKEN_MISSING": (grpc.StatusCode.UNAUTHENTICATED, 401),
    "TOKEN_INVALID": (grpc.StatusCode.UNAUTHENTICATED, 401),
    "ROLE_REQUIRED": (grpc.StatusCode.PERMISSION_DENIED, 403),
}
METHODS = list(all_methods())


def expected(method: Method, caller: str) -> str | None:
    """Returns the reason for which a caller is refused at the gateway, None if he is admitted."""
    if method.access.kind is AccessKind.PUBLIC:
        return None
    if caller == "nobody":
        return "TOKEN_MISSING"
    if caller == "service":
        return "TOKEN_INVALID"  # its audience is not the gateway's
    return None if caller.upper() in method.access.roles else "ROLE_REQUIRED"


@pytest.fixture(scope="module")
def service(system: Instance) -> Iterator[Session]:
    """The patient service, come to the wrong door."""
    with Session.open(system, service_token(system)) as session:
        yield session


@pytest.fixture
def caller(request: pytest.FixtureRequest, system: Instance) -> Iterator[Session]:
    if request.param == "nobody":
        with Session.open(system) as session:
            yield session
    else:
        yield request.getfixturevalue(request.param)


@pytest.mark.parametrize(("caller", "who"), [(who, who) for who in CALLERS], indirect=["caller"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_access_over_grpc(method: Method, caller: Session, who: str) -> None:
    answer = attempt(lambda: caller.client("auth").call(method.path, b""))
    kept_out = isinstance(answer, Rejected) and answer.reason in OUTSIDE
    assert (answer.reason if kept_out else None) == expected(method, who)
    assert not kept_out or answer.code is OUTSIDE[answer.reason][0]


@pytest.mark.parametrize(("caller", "who"), [(who, who) for who in CALLERS], indirect=["caller"])
@pytest.mark.parametrize("method", [m for m in METHODS if m.http], ids=lambda method: method.name)
def test_access_over_rest(method: Method, caller: Session, who: str) -> None:
    [http] = method.http
    answer = caller.request(http.verb, fill_path(http.path), json={} if http.body else None)
    reason: Any = None
    if answer.is_error:
        found = answer.json()["details"][0]["reason"]
        reason = found if found in OUTSIDE else None
        assert reason is None or answer.status_code == OUTSIDE[reason][1]
    assert reason == expected(method, who)
