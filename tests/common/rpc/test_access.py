"""Who may call what: every method of the contract, by every kind of caller, at the port of the service itself."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from grpc import StatusCode

from services.common.protobuf import contract
from services.common.protobuf.contract import Access, AccessKind
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import serve_auth, serve_service
from tests.harness.tokens import Signer

TABLE = [
    pytest.param(service, method, caller, id=f"{method.name}-{caller}")
    for service, name in contract.SERVICES.items()
    for method in contract.methods(name)
    for caller in ("nobody", "USER", "ADMIN", "SERVICE")
]
REFUSALS = {
    "TOKEN_MISSING": (StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
    "ROLE_REQUIRED": (StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"),
}
# What an empty request leads to when its caller is let in.
ADMITTED = {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}


@pytest.fixture(scope="module")
def clients(background: Background, new_database: Callable[[str], str], signer: Signer) -> Iterator[dict[str, Client]]:
    """A caller without a token of each service."""
    verifier = TokenVerifier(signer.trust)
    others = contract.SERVICES.keys() - {"auth"}
    servings = {name: serve_service(name, new_database(name), verifier) for name in others}
    servings["auth"] = serve_auth(new_database("auth"), verifier)
    with ExitStack() as stack:
        ports = {name: stack.enter_context(background.during(serving)) for name, serving in servings.items()}
        yield {name: stack.enter_context(connect(port, name)) for name, port in ports.items()}


@pytest.mark.parametrize(("service", "method", "caller"), TABLE)
def test_a_method_admits_whom_its_access_option_names(
    clients: dict[str, Client], signer: Signer, service: str, method: contract.Method, caller: str
) -> None:
    client = clients[service].with_token("" if caller == "nobody" else signer.token(caller))
    outcome = outcome_of(client, method.path)
    if refusal := refusal_of(method.access, caller):
        assert outcome == REFUSALS[refusal]
    else:
        assert outcome[0] in ADMITTED


def test_every_service_of_the_contract_is_in_the_table() -> None:
    in_the_table = {param.values[1].path for param in TABLE}  # type: ignore[union-attr]
    packages = [file for file in contract.descriptor_set().file if file.package.startswith("pulsetrack.")]
    for file in packages:
        for service in file.service:
            assert {f"/{file.package}.{service.name}/{method.name}" for method in service.method} <= in_the_table


def refusal_of(access: Access, caller: str) -> str | None:
    """Returns why an option refuses a caller, None if it does not."""
    match access.kind:
        case AccessKind.PUBLIC:
            admitted = {"nobody", "USER", "ADMIN", "SERVICE"}
        case AccessKind.USERS:
            admitted = set(access.roles)
        case AccessKind.SERVICES:
            admitted = {"SERVICE"}
        case AccessKind.CLIENT_CREDENTIALS | AccessKind.INTERNAL:
            admitted = {"nobody", "SERVICE"}
    if caller in admitted:
        return None
    return "TOKEN_MISSING" if caller == "nobody" else "ROLE_REQUIRED"


def outcome_of(client: Client, path: str) -> tuple[StatusCode, str]:
    """Returns the code and the reason of an empty request."""
    try:
        client.call(path, b"")
    except Rejected as refused:
        return refused.code, refused.reason
    return StatusCode.OK, ""
