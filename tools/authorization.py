"""Generates the table of docs/authorization.md from the access options. `python -m tools.protos` runs it.

`tests/e2e/test_access.py` makes every call of the table.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from services.common.protobuf.contract import SERVICES, AccessKind, Method, methods
from services.common.rpc.token_rules import SERVICE_ROLE

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "authorization.md"

_TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- /table -->)", re.DOTALL)
_AUTHENTICATED = {AccessKind.USERS, AccessKind.SERVICES}


class Outcome(StrEnum):
    """Whether a call is permitted, or the code with which it is rejected."""

    PERMITTED = "yes"
    UNAUTHENTICATED = "401"
    PERMISSION_DENIED = "403"


Rule = Callable[[Method], Outcome]


@dataclass(frozen=True)
class CallerKind:
    """A kind of caller, and the outcomes of its calls."""

    name: str
    at_gateway: Rule
    at_service: Rule
    """The rule for a call that reaches the service without passing the gateway."""


def _permit_role(role: str) -> Rule:
    """Returns the rule for a valid token with a role."""

    def rule(method: Method) -> Outcome:
        match method.access.kind:
            case AccessKind.PUBLIC:
                is_permitted = True
            case AccessKind.USERS:
                is_permitted = role in method.access.roles
            case _:
                is_permitted = role == SERVICE_ROLE
        return Outcome.PERMITTED if is_permitted else Outcome.PERMISSION_DENIED

    return rule


def _permit_client(*scopes: str) -> Rule:
    """Returns the rule for a token of a machine client with some scopes, or with all if none are given."""

    def rule(method: Method) -> Outcome:
        scope = method.access.scope
        has_scope = scope != "" and (not scopes or scope in scopes)
        is_permitted = has_scope or method.access.kind is AccessKind.PUBLIC
        return Outcome.PERMITTED if is_permitted else Outcome.PERMISSION_DENIED

    return rule


def _permit_public(otherwise: Outcome) -> Rule:
    """Returns the rule for a token that is not valid, or not valid here."""
    return lambda method: Outcome.PERMITTED if method.access.kind is AccessKind.PUBLIC else otherwise


def _permit_unauthenticated(method: Method) -> Outcome:
    """Implements the rule for a call without a token at a service."""
    return Outcome.UNAUTHENTICATED if method.access.kind in _AUTHENTICATED else Outcome.PERMITTED


_INVALID = _permit_public(Outcome.UNAUTHENTICATED)
_DISABLED = _permit_public(Outcome.PERMISSION_DENIED)

CALLER_KINDS = (
    CallerKind("no token", _INVALID, _permit_unauthenticated),
    CallerKind("USER", _permit_role("USER"), _permit_role("USER")),
    CallerKind("ADMIN", _permit_role("ADMIN"), _permit_role("ADMIN")),
    CallerKind("service", _INVALID, _permit_role(SERVICE_ROLE)),
    CallerKind("client", _permit_client(), _permit_client()),
    CallerKind("client, patients.read", _permit_client("patients.read"), _permit_client("patients.read")),
    CallerKind("disabled USER", _DISABLED, _DISABLED),
    CallerKind("disabled ADMIN", _DISABLED, _DISABLED),
    CallerKind("USER, session ended", _INVALID, _INVALID),
    CallerKind("ADMIN, session ended", _INVALID, _INVALID),
    CallerKind("demoted ADMIN", _INVALID, _INVALID),
    CallerKind("revoked client", _INVALID, _INVALID),
)
"""The columns of the table."""


def main() -> int:
    """Replaces the table in the document, or with `--check` compares it. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.authorization", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change no file, and fail if it would change")
    old = DOCUMENT.read_text(encoding="utf-8")
    new = insert_table(old)
    if parser.parse_args().check:
        return int(new != old)
    DOCUMENT.write_text(new, encoding="utf-8")
    return 0


def insert_table(document: str) -> str:
    """Returns a document with the current table."""
    table = "\n".join(_generate_lines())
    return _TABLE.sub(lambda _: f"\n{table}\n\n", document)


def _generate_lines() -> Iterator[str]:
    yield f"| method | {' | '.join(kind.name for kind in CALLER_KINDS)} |"
    yield f"|---|{'---|' * len(CALLER_KINDS)}"
    for service, full_name in SERVICES.items():
        for method in methods(full_name):
            yield f"| {service} `{method.name}` | {' | '.join(_cell(kind, method) for kind in CALLER_KINDS)} |"


def _cell(kind: CallerKind, method: Method) -> str:
    return " / ".join(dict.fromkeys((kind.at_gateway(method), kind.at_service(method))))


if __name__ == "__main__":
    sys.exit(main())
