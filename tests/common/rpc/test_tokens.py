"""Who is believed to be whom, at the port of a service itself."""

import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
from grpc import StatusCode

from gen.pulsetrack.billing.v1 import GetBillingAccountRequest
from services.common.rpc.tokens import MAX_TOKEN_SECONDS
from tests.harness.client import Client, Rejected
from tests.harness.forged import FORGERIES, Forge
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually

CLAIMS = ["iss", "aud", "sub", "role", "jti", "iat", "nbf", "exp"]


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_token_is_refused(nobody: Client, signer: Signer, forge: Forge) -> None:
    assert_invalid(nobody, forge(signer))


@pytest.mark.parametrize("token", ["x", "..", "a.b.c", "a.b.c.d.e", "e30.e30.e30", "null.null.null", "!", "x" * 4000])
def test_garbage_is_refused(nobody: Client, token: str) -> None:
    assert_invalid(nobody, token)


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_token_without_a_claim_is_refused(nobody: Client, signer: Signer, claim: str) -> None:
    assert_invalid(nobody, signer.token("USER", **{claim: None}))


@pytest.mark.parametrize(
    ("role", "claims"),
    [
        ("USER", {"iss": "somebody"}),
        ("USER", {"aud": "pulsetrack-services"}),
        ("SERVICE", {"aud": "pulsetrack"}),
        ("USER", {"aud": "somebody"}),
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
    ],
)
def test_a_claim_that_auth_would_not_make_is_refused(
    nobody: Client, signer: Signer, role: str, claims: dict[str, Any]
) -> None:
    assert_invalid(nobody, signer.token(role, **claims))


def test_a_role_of_null_is_refused(nobody: Client, signer: Signer) -> None:
    claims = signer.claims("USER") | {"role": None}
    token = jwt.encode(claims, signer.key, algorithm="ES256", headers={"kid": signer.kid, "typ": "at+jwt"})
    assert_invalid(nobody, token)


@pytest.mark.parametrize("kind", ["JWT", "rt+jwt", "jwt", ""])
def test_a_token_of_another_type_is_refused(nobody: Client, signer: Signer, kind: str) -> None:
    assert_invalid(nobody, signer.token("USER", headers={"typ": kind}))


@pytest.mark.parametrize(("claim", "seconds"), [("exp", -1), ("nbf", 60), ("iat", 60)])
def test_a_token_out_of_its_time_is_refused(nobody: Client, signer: Signer, claim: str, seconds: int) -> None:
    moved: dict[str, Any] = {claim: int(time.time()) + seconds}
    assert_invalid(nobody, signer.token("USER", **moved))


@pytest.mark.parametrize(("claim", "seconds"), [("nbf", 15), ("iat", 15)])
def test_the_clock_of_the_issuer_may_be_half_a_minute_fast(
    nobody: Client, signer: Signer, claim: str, seconds: int
) -> None:
    moved: dict[str, Any] = {claim: int(time.time()) + seconds}
    assert_admitted(nobody, signer.token("USER", **moved))


def test_a_token_of_the_longest_lifetime_is_accepted(nobody: Client, signer: Signer) -> None:
    assert_admitted(nobody, signer.token("USER", **lifetime(MAX_TOKEN_SECONDS)))


def test_a_token_of_a_longer_lifetime_is_refused(nobody: Client, signer: Signer) -> None:
    assert_invalid(nobody, signer.token("USER", **lifetime(MAX_TOKEN_SECONDS + 1)))


def test_a_token_that_was_good_is_refused_when_it_has_expired(nobody: Client, signer: Signer) -> None:
    token = signer.token("USER", exp=int(time.time()) + 4)
    assert_admitted(nobody, token)
    eventually(lambda: outcome(nobody, f"Bearer {token}").reason == "TOKEN_INVALID")
    assert_invalid(nobody, token)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_compared_without_case(nobody: Client, signer: Signer, scheme: str) -> None:
    assert outcome(nobody, f"{scheme} {signer.token('USER')}").reason == "BILLING_ACCOUNT_NOT_FOUND"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YW5hOnB3", "Token {}", "{}"])
def test_a_header_that_bears_no_token_is_none(nobody: Client, signer: Signer, header: str) -> None:
    refused = outcome(nobody, header.format(signer.token("USER")))
    assert (refused.code, refused.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


def test_no_header_is_no_token_either(nobody: Client) -> None:
    refused = outcome(nobody)
    assert (refused.code, refused.reason, refused.domain) == (StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "pulsetrack")


def test_two_headers_are_refused_whatever_they_bear(nobody: Client, signer: Signer) -> None:
    good, bad = f"Bearer {signer.token('USER')}", "Bearer x"
    for headers in ((good, bad), (bad, good), (good, good)):
        assert outcome(nobody, *headers).reason == "TOKEN_INVALID"


def test_a_token_too_long_for_any_header_gets_nowhere(nobody: Client) -> None:
    refused = outcome(nobody, f"Bearer {'x' * 100_000}")
    assert refused.code is StatusCode.RESOURCE_EXHAUSTED


def lifetime(seconds: int) -> dict[str, Any]:
    """Returns the claims of a token that is issued now, for so many seconds."""
    now = int(time.time())
    return {"iat": now, "exp": now + seconds}


def outcome(client: Client, *authorization: str) -> Rejected:
    """Returns how a call for an account that does not exist is refused, with these authorization headers."""
    headers = tuple(("authorization", value) for value in authorization)
    with pytest.raises(Rejected) as refused:
        client.get_billing_account(GetBillingAccountRequest(id=str(uuid4())), metadata=headers)
    return refused.value


def assert_invalid(client: Client, token: str) -> None:
    """Checks that a token is refused, in the words of google.rpc, which tell nothing of the why."""
    refused = outcome(client, f"Bearer {token}")
    assert (refused.code, refused.reason) == (StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    assert (refused.domain, refused.message) == ("pulsetrack", "The access token is not valid.")


def assert_admitted(client: Client, token: str) -> None:
    """Checks that a token is taken."""
    assert outcome(client, f"Bearer {token}").reason == "BILLING_ACCOUNT_NOT_FOUND"
