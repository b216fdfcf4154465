"""Every method, called by every kind of caller, over gRPC and REST and at the port of the service.

docs/authorization.md contains the expected outcomes. Another kind of caller needs a rule in tools/authorization.py and
a token in callers.py.
"""

from collections.abc import Iterator, Mapping

import grpc
import pytest

from services.common.protobuf.contract import SERVICES, Method, all_methods, methods
from tests.e2e.callers import open_tokens
from tests.e2e.sessions import Session, fill_path
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.rest_bodies import content_type
from tools.authorization import CALLER_KINDS, CallerKind, Outcome
from tools.instance import Instance

METHODS = list(all_methods())
IN_REST = [method for method in METHODS if method.http]
CODES = {code: Outcome[code.name] for code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)}
STATUSES = {401: Outcome.UNAUTHENTICATED, 403: Outcome.PERMISSION_DENIED}

every_caller = pytest.mark.parametrize("kind", CALLER_KINDS, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def tokens(system: Instance, admin: Session) -> Iterator[Mapping[str, str]]:
    """A token per kind of caller, by its name."""
    with open_tokens(system, admin) as tokens:
        yield tokens


@pytest.fixture
def session(system: Instance, tokens: Mapping[str, str], kind: CallerKind) -> Iterator[Session]:
    """A session at the gateway with the token of the caller."""
    with Session.open(system, tokens[kind.name]) as session:
        yield session


def call_grpc(client: Client, method: Method) -> Outcome:
    """Calls a method with an empty request."""
    response = attempt(lambda: client.call(method.path, b""))
    return CODES.get(response.code, Outcome.PERMITTED) if isinstance(response, Rejected) else Outcome.PERMITTED


def call_rest(session: Session, method: Method) -> Outcome:
    """Calls a method with an empty body, or without one."""
    [http] = method.http
    body = {"json": {}, "headers": content_type(method, http)} if http.body else {}
    response = session.request(http.verb, fill_path(http.path), **body)
    return STATUSES.get(response.status_code, Outcome.PERMITTED)


@every_caller
def test_access_over_grpc(session: Session, kind: CallerKind) -> None:
    outcomes = {method.name: call_grpc(session.client(""), method) for method in METHODS}
    assert outcomes == {method.name: kind.at_gateway(method) for method in METHODS}


@every_caller
def test_access_over_rest(session: Session, kind: CallerKind) -> None:
    outcomes = {method.name: call_rest(session, method) for method in IN_REST}
    assert outcomes == {method.name: kind.at_gateway(method) for method in IN_REST}


@every_caller
def test_access_at_the_port_of_the_service(system: Instance, tokens: Mapping[str, str], kind: CallerKind) -> None:
    outcomes: dict[str, Outcome] = {}
    for service, full_name in SERVICES.items():
        with connect(system.state().ports[service], service, tokens[kind.name]) as client:
            outcomes |= {method.name: call_grpc(client, method) for method in methods(full_name)}
    assert outcomes == {method.name: kind.at_service(method) for method in METHODS}
