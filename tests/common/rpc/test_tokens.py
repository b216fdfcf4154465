"""Verification of access tokens at the service port."""

import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
from grpc import StatusCode

from gen.pulsetrack.billing.v1 import GetBillingAccountRequest
from services.common.rpc.token_rules import MAX_TOKEN_SECONDS
from tests.harness.client import Client, Rejected
from tests.harness.forged import FORGERIES, Forge
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually

CLAIMS = ["iss", "aud", "sub", "role", "jti", "iat", "nbf", "exp"]


@pytest.mark.parametrize("forge", FORGERIES)
def test_forged_token_is_rejected(anonymous: Client, signer: Signer, forge: Forge) -> None:
    assert_rejected(anonymous, forge(signer))


@pytest.mark.parametrize("token", ["x", "..", "a.b.c", "a.b.c.d.e", "e30.e30.e30", "null.null.null", "!", "x" * 4000])
def test_malformed_token_is_rejected(anonymous: Client, token: str) -> None:
    assert_rejected(anonymous, token)


@pytest.mark.parametrize("claim", CLAIMS)
def test_token_without_a_required_claim_is_rejected(anonymous: Client, signer: Signer, claim: str) -> None:
    assert_rejected(anonymous, signer.token("USER", **{claim: None}))


@pytest.mark.parametrize(
    ("role", "claims"),
    [
        ("USER", {"iss": "another"}),
        ("USER", {"aud": "pulsetrack-services"}),
        ("SERVICE", {"aud": "pulsetrack"}),
        ("USER", {"aud": "another"}),
        ("USER", {"aud": ["pulsetrack"]}),
        ("USER", {"aud": ["pulsetrack", "pulsetrack-services"]}),
        ("USER", {"role": "ROOT"}),
        ("USER", {"role": "admin"}),
        ("USER", {"role": ""}),
        ("USER", {"role": ["USER", "ADMIN"]}),
        ("USER", {"role": {"ADMIN": True}}),
        ("USER", {"role": 2}),
        ("USER", {"sub": 1}),
        ("USER", {"sub": "a\0b"}),
        ("USER", {"sub": ""}),
        ("USER", {"sub": "a" * 65}),
        ("USER", {"exp": "tomorrow"}),
        ("USER", {"exp": str(2**31)}),
        ("USER", {"exp": 2**31}),
        ("USER", {"exp": float("inf")}),
        ("USER", {"exp": []}),
        ("USER", {"iat": 0}),
        ("USER", {"token_version": "1"}),
        ("USER", {"iat": str(2**30)}),
        ("CLIENT", {"aud": "pulsetrack-services"}),
        ("CLIENT", {"scope": None}),
        ("CLIENT", {"scope": ["patients.read"]}),
        ("CLIENT", {"client_id": None}),
        ("CLIENT", {"client_id": "another"}),
        ("CLIENT", {"sid": None}),
        ("CLIENT", {"sid": ""}),
        ("CLIENT", {"sid": 1}),
    ],
)
def test_token_with_an_invalid_claim_is_rejected(
    anonymous: Client, signer: Signer, role: str, claims: dict[str, Any]
) -> None:
    assert_rejected(anonymous, signer.token(role, **claims))


def test_null_role_is_rejected(anonymous: Client, signer: Signer) -> None:
    claims = signer.claims("USER") | {"role": None}
    token = jwt.encode(claims, signer.key, algorithm="ES256", headers={"kid": signer.kid, "typ": "at+jwt"})
    assert_rejected(anonymous, token)


@pytest.mark.parametrize("kind", ["JWT", "rt+jwt", "jwt", ""])
def test_token_of_another_type_is_rejected(anonymous: Client, signer: Signer, kind: str) -> None:
    assert_rejected(anonymous, signer.token("USER", headers={"typ": kind}))


@pytest.mark.parametrize(("claim", "seconds"), [("exp", -1), ("nbf", 60), ("iat", 60)])
def test_token_outside_its_validity_period_is_rejected(
    anonymous: Client, signer: Signer, claim: str, seconds: int
) -> None:
    shifted: dict[str, Any] = {claim: int(time.time()) + seconds}
    assert_rejected(anonymous, signer.token("USER", **shifted))


@pytest.mark.parametrize(("claim", "seconds"), [("nbf", 15), ("iat", 15)])
def test_clock_skew_of_half_a_minute_is_tolerated(anonymous: Client, signer: Signer, claim: str, seconds: int) -> None:
    shifted: dict[str, Any] = {claim: int(time.time()) + seconds}
    assert_accepted(anonymous, signer.token("USER", **shifted))


def test_token_of_the_maximum_lifetime_is_accepted(anonymous: Client, signer: Signer) -> None:
    assert_accepted(anonymous, signer.token("USER", **claims_of_lifetime(MAX_TOKEN_SECONDS)))


def test_token_above_the_maximum_lifetime_is_rejected(anonymous: Client, signer: Signer) -> None:
    assert_rejected(anonymous, signer.token("USER", **claims_of_lifetime(MAX_TOKEN_SECONDS + 1)))


def test_cached_token_is_rejected_after_it_expires(anonymous: Client, signer: Signer) -> None:
    token = signer.token("USER", exp=int(time.time()) + 4)
    assert_accepted(anonymous, token)
    eventually(lambda: call_with_headers(anonymous, f"Bearer {token}").reason == "TOKEN_INVALID")
    assert_rejected(anonymous, token)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_authorization_scheme_is_case_insensitive(anonymous: Client, signer: Signer, scheme: str) -> None:
    assert call_with_headers(anonymous, f"{scheme} {signer.token('USER')}").reason == "BILLING_ACCOUNT_NOT_FOUND"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YW5hOnB3", "Token {}", "{}"])
def test_header_without_a_bearer_token_is_a_missing_token(anonymous: Client, signer: Signer, header: str) -> None:
    rejected = call_with_headers(anonymous, header.format(signer.token("USER")))
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


def test_missing_header_is_a_missing_token(anonymous: Client) -> None:
    rejected = call_with_headers(anonymous)
    assert (rejected.code, rejected.reason, rejected.domain) == (
        StatusCode.UNAUTHENTICATED,
        "TOKEN_MISSING",
        "pulsetrack",
    )


def test_two_authorization_headers_are_rejected(anonymous: Client, signer: Signer) -> None:
    good, bad = f"Bearer {signer.token('USER')}", "Bearer x"
    for headers in ((good, bad), (bad, good), (good, good)):
        assert call_with_headers(anonymous, *headers).reason == "TOKEN_INVALID"


def test_oversized_token_is_rejected(anonymous: Client) -> None:
    rejected = call_with_headers(anonymous, f"Bearer {'x' * 100_000}")
    assert rejected.code is StatusCode.RESOURCE_EXHAUSTED


def claims_of_lifetime(seconds: int) -> dict[str, Any]:
    """Returns the claims of a token that is issued now, with a lifetime in seconds."""
    now = int(time.time())
    return {"iat": now, "exp": now + seconds}


def call_with_headers(client: Client, *authorization: str) -> Rejected:
    """Returns the error of a call for an unknown account, with the given authorization headers."""
    headers = tuple(("authorization", value) for value in authorization)
    with pytest.raises(Rejected) as rejected:
        client.get_billing_account(GetBillingAccountRequest(id=str(uuid4())), metadata=headers)
    return rejected.value


def assert_rejected(client: Client, token: str) -> None:
    """Asserts that a token is rejected, with a message that does not reveal why."""
    rejected = call_with_headers(client, f"Bearer {token}")
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    assert (rejected.domain, rejected.message) == ("pulsetrack", "The access token is not valid.")


def assert_accepted(client: Client, token: str) -> None:
    """Asserts that a token is accepted."""
    assert call_with_headers(client, f"Bearer {token}").reason == "BILLING_ACCOUNT_NOT_FOUND"
