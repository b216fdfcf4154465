"""Forged and misused tokens are rejected by the gateway and at the ports of the services."""

import time
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.sessions import PASSWORD, Session, service_token
from tests.harness.background import Background
from tests.harness.forged import FORGERIES, Forge
from tests.harness.tokens import Signer
from tests.security.leaked import leaked_signer, reasons
from tools.instance import Instance


@pytest.fixture(scope="module")
def signer(background: Background, system: Instance) -> Signer:
    """A signer that uses the key of the running auth service."""
    return leaked_signer(background, system)


def test_token_signed_with_the_key_of_auth_is_accepted(system: Instance, signer: Signer) -> None:
    assert reasons(system, signer.token("USER")) == ["", "", ""]


@pytest.mark.parametrize("forge", FORGERIES)
def test_forged_token_is_rejected_everywhere(system: Instance, signer: Signer, forge: Forge) -> None:
    assert reasons(system, forge(signer)) == ["TOKEN_INVALID"] * 3


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": -60},
        {"exp": None},
        {"exp": 10 * 365 * 86_400},
        {"nbf": 3600},
        {"aud": "pulsetrack-services"},
        {"aud": "other"},
        {"iss": "other"},
        {"role": "SERVICE"},
        {"role": "ROOT"},
    ],
    ids=str,
)
def test_token_with_an_invalid_claim_is_rejected_everywhere(
    system: Instance, signer: Signer, claims: dict[str, Any]
) -> None:
    """Integer claims are seconds from now."""
    now = int(time.time())
    claims = {name: now + claim if isinstance(claim, int) else claim for name, claim in claims.items()}
    assert reasons(system, signer.token("USER", **claims)) == ["TOKEN_INVALID"] * 3


def test_token_of_another_type_is_rejected_everywhere(system: Instance, signer: Signer) -> None:
    assert reasons(system, signer.token("USER", headers={"typ": "JWT"})) == ["TOKEN_INVALID"] * 3


def test_refresh_token_is_rejected_as_access_token(system: Instance, user: Session) -> None:
    assert reasons(system, user.refresh_token) == ["TOKEN_INVALID"] * 3


def test_access_token_is_rejected_as_refresh_token(user: Session) -> None:
    response = user.rest.post("/v1/auth/refresh", json={"refreshToken": user.token})
    assert (response.status_code, response.json()["details"][0]["reason"]) == (401, "REFRESH_TOKEN_INVALID")


def test_service_token_is_rejected_for_user_methods(system: Instance) -> None:
    at_gateway, native, at_port = reasons(system, service_token(system))
    assert (at_gateway, native) == ("TOKEN_INVALID", "TOKEN_INVALID")
    assert at_port == "ROLE_REQUIRED"


@pytest.mark.parametrize("role", ["ROLE_ADMIN", 2])
def test_user_cannot_become_admin(system: Instance, role: object) -> None:
    name = uuid4().hex
    new: dict[str, Any] = {"email": f"{name}@clinic.test", "username": name, "password": PASSWORD, "role": role}
    with Session.open(system) as anonymous:
        rejected = anonymous.rest.post("/v1/auth/signup", json=new)
        assert (rejected.status_code, rejected.json()["details"][0]["reason"]) == (400, "JSON_INVALID")
        del new["role"]
        assert anonymous.post("/v1/auth/signup", new)["role"] == "ROLE_USER"
    with Session.log_in(system, new["email"], PASSWORD) as session:
        own = session.get("/v1/auth/me")
        assert session.rest.patch(f"/v1/users/{own['id']}", json={"role": role}).status_code == 403
        assert session.get("/v1/auth/me") == own
