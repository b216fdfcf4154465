"""Authorization: every method of the contract, called by every kind of caller at the service port."""

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
from tests.harness.tokens import USER_ID, Signer

TABLE = [
    pytest.param(service, method, caller, id=f"{method.name}-{caller}")
    for service, name in contract.SERVICES.items()
    for method in contract.methods(name)
    for caller in ("anonymous", "USER", "ADMIN", "CLIENT", "SERVICE")
]
REJECTIONS = {
    "TOKEN_MISSING": (StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
    "ROLE_REQUIRED": (StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"),
}
# The status codes of an empty request from an authorized caller.
PERMITTED = {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}


@pytest.fixture(scope="module")
def clients(background: Background, new_database: Callable[[str], str], signer: Signer) -> Iterator[dict[str, Client]]:
    """A client without a token for each service."""
    verifier = TokenVerifier(signer.trust)
    others = contract.SERVICES.keys() - {"auth"}
    servings = {name: serve_service(name, new_database(name), verifier) for name in others}
    servings["auth"] = serve_auth(new_database("auth"), verifier)
    with ExitStack() as stack:
        ports = {name: stack.enter_context(background.during(serving)) for name, serving in servings.items()}
        yield {name: stack.enter_context(connect(port, name)) for name, port in ports.items()}


@pytest.mark.parametrize(("service", "method", "caller"), TABLE)
def test_method_permits_the_callers_of_its_access_option(
    clients: dict[str, Client], signer: Signer, service: str, method: contract.Method, caller: str
) -> None:
    client = clients[service].with_token("" if caller == "anonymous" else signer.token(caller))
    outcome = call_empty(client, method.path)
    if rejection := find_rejection(method.access, caller):
        assert outcome == REJECTIONS[rejection]
    else:
        assert outcome[0] in PERMITTED


@pytest.mark.parametrize("scope", sorted(contract.all_scopes()))
def test_client_may_only_call_the_methods_of_its_scope(clients: dict[str, Client], signer: Signer, scope: str) -> None:
    token = signer.token("CLIENT", scope=f"{scope} unknown")
    for service, name in contract.SERVICES.items():
        for method in contract.methods(name):
            if other := method.access.scope:
                outcome = call_empty(clients[service].with_token(token), method.path)
                assert (outcome[1] == "SCOPE_REQUIRED") is (other != scope), method.name


def test_scope_in_the_token_of_a_user_has_no_effect(clients: dict[str, Client], signer: Signer) -> None:
    token = signer.token("USER", scope=" ".join(contract.all_scopes()), client_id=USER_ID, sid="session")
    for service, name in contract.SERVICES.items():
        for method in contract.methods(name):
            if method.access.scope and "USER" not in method.access.roles:
                outcome = call_empty(clients[service].with_token(token), method.path)
                assert outcome == REJECTIONS["ROLE_REQUIRED"]


def test_table_covers_every_method_of_the_contract() -> None:
    covered = {param.values[1].path for param in TABLE}  # type: ignore[union-attr]
    packages = [file for file in contract.descriptor_set().file if file.package.startswith("pulsetrack.")]
    for file in packages:
        for service in file.service:
            assert {f"/{file.package}.{service.name}/{method.name}" for method in service.method} <= covered


def find_rejection(access: Access, caller: str) -> str | None:
    """Returns the reason for which an access option rejects a caller, or None if it permits the caller."""
    match access.kind:
        case AccessKind.PUBLIC:
            permitted = {"anonymous", "USER", "ADMIN", "CLIENT", "SERVICE"}
        case AccessKind.USERS:
            permitted = {*access.roles, *(["CLIENT"] if access.scope else [])}
        case AccessKind.SERVICES:
            permitted = {"SERVICE"}
        case AccessKind.CLIENT_CREDENTIALS | AccessKind.INTERNAL:
            permitted = {"anonymous", "SERVICE"}
    if caller in permitted:
        return None
    return "TOKEN_MISSING" if caller == "anonymous" else "ROLE_REQUIRED"


def call_empty(client: Client, path: str) -> tuple[StatusCode, str]:
    """Returns the code and the reason of the response to an empty request."""
    try:
        client.call(path, b"")
    except Rejected as error:
        return error.code, error.reason
    return StatusCode.OK, ""
