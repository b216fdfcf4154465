"""Verification of the tokens of an external issuer at the service port."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gen.pulsetrack.auth.v1 import Revocation, TrustBundle
from gen.pulsetrack.billing.v1 import CloseBillingAccountRequest, GetBillingAccountRequest
from services.common.rpc.external_tokens import ExternalTokens
from services.common.rpc.token_rules import MAX_EXTERNAL_TOKEN_SECONDS
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.issuer import ADMIN_VALUE, SUBJECT, USER_VALUE, Issuer, Key
from tests.harness.services import serve_service
from tests.harness.tokens import Signer, build_jwks
from tests.harness.waiting import eventually

DAY = 86_400
"""Seconds. Times are determined when the tests are collected, minutes before they run."""
ACCEPTED = "BILLING_ACCOUNT_NOT_FOUND"
KEYS = (Key("rsa"), Key("ec", algorithm="ES256"), Key("short", bits=1024))


class Trust:
    """The trust bundle of a service with an external issuer. Tests change the issuer and the revocations."""

    def __init__(self) -> None:
        self.signer = Signer("own")
        self.issuer: Issuer | None = Issuer("https://login.example", *KEYS)
        self.revocations: list[Revocation] = []

    async def fetch(self) -> TrustBundle:
        external = self.issuer.trust() if self.issuer else None
        return TrustBundle(build_jwks(self.signer), self.revocations, external_issuer=external)


@pytest.fixture(scope="module")
def trust() -> Trust:
    return Trust()


@pytest.fixture
def issuer(trust: Trust) -> Iterator[Issuer]:
    """The issuer, whose original keys are restored at the end."""
    trust.issuer = Issuer("https://login.example", *KEYS)
    yield trust.issuer
    trust.issuer = Issuer("https://login.example", *KEYS)


@pytest.fixture(scope="module")
def billing(background: Background, database_url: str, trust: Trust) -> Iterator[Client]:
    serving = serve_service("billing", database_url, TokenVerifier(trust.fetch))
    with background.during(serving) as port, connect(port, "billing") as client:
        yield client


def get_reason(billing: Client, token: str) -> str:
    request = GetBillingAccountRequest(id=str(uuid4()))
    response = attempt(lambda: billing.with_token(token).get_billing_account(request))
    assert isinstance(response, Rejected)
    return str(response.reason)


def close_reason(billing: Client, token: str) -> str:
    request = CloseBillingAccountRequest(id=str(uuid4()))
    response = attempt(lambda: billing.with_token(token).close_billing_account(request))
    assert isinstance(response, Rejected)
    return str(response.reason)


@pytest.mark.parametrize("number", [0, 1], ids=["RS256", "ES256"])
@pytest.mark.parametrize("kind", ["JWT", "at+jwt", None])
def test_token_of_the_issuer_is_accepted(billing: Client, issuer: Issuer, number: int, kind: str | None) -> None:
    token = issuer.token(key=KEYS[number], headers={"typ": kind} if kind else {})
    eventually(lambda: get_reason(billing, token) == ACCEPTED)


def test_tokens_of_auth_are_still_accepted(billing: Client, trust: Trust) -> None:
    assert get_reason(billing, trust.signer.token("USER")) == ACCEPTED


@pytest.mark.parametrize(
    ("values", "get", "close"),
    [
        ([USER_VALUE], ACCEPTED, "ROLE_REQUIRED"),
        (USER_VALUE, ACCEPTED, "ROLE_REQUIRED"),
        ([ADMIN_VALUE], ACCEPTED, ACCEPTED),
        ([USER_VALUE, ADMIN_VALUE], ACCEPTED, ACCEPTED),
        (["other"], "TOKEN_INVALID", "TOKEN_INVALID"),
        ([], "TOKEN_INVALID", "TOKEN_INVALID"),
        (f"{USER_VALUE} {ADMIN_VALUE}", "TOKEN_INVALID", "TOKEN_INVALID"),
        ({ADMIN_VALUE: True}, "TOKEN_INVALID", "TOKEN_INVALID"),
        ([[ADMIN_VALUE]], "TOKEN_INVALID", "TOKEN_INVALID"),
        (None, "TOKEN_INVALID", "TOKEN_INVALID"),
    ],
)
def test_role_derives_from_the_claim(billing: Client, issuer: Issuer, values: Any, get: str, close: str) -> None:
    token = issuer.token(realm={"roles": values})
    assert (get_reason(billing, token), close_reason(billing, token)) == (get, close)


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "iat", "exp", "realm"])
def test_token_without_a_required_claim_is_rejected(billing: Client, issuer: Issuer, claim: str) -> None:
    assert get_reason(billing, issuer.token(**{claim: None})) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://login.example/"},
        {"iss": "pulsetrack-auth"},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": "pulsetrack"},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a" * 256},
        {"exp": int(time.time()) - 1},
        {"exp": int(time.time()) + MAX_EXTERNAL_TOKEN_SECONDS + DAY},
        {"exp": "tomorrow"},
        {"iat": int(time.time()) + DAY},
        {"nbf": int(time.time()) + DAY},
        {"realm": ["roles"]},
    ],
    ids=lambda claims: next(iter(claims)),
)
def test_token_with_an_invalid_claim_is_rejected(billing: Client, issuer: Issuer, claims: dict[str, Any]) -> None:
    assert get_reason(billing, issuer.token(**claims)) == "TOKEN_INVALID"


def test_audience_may_be_one_of_several(billing: Client, issuer: Issuer) -> None:
    assert get_reason(billing, issuer.token(aud=["another", "clinic"])) == ACCEPTED


def test_forged_tokens_are_rejected(billing: Client, issuer: Issuer, trust: Trust) -> None:
    signed = issuer.token()
    header, payload, signature = signed.split(".")
    key = KEYS[0].private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = jwt.decode(signed, options={"verify_signature": False})
    symmetric = encode({"alg": "HS256", "kid": "rsa", "typ": "JWT"})
    mac = hmac.digest(key, f"{symmetric}.{payload}".encode(), hashlib.sha256)
    forged = {
        "none": f"{encode({'alg': 'none', 'kid': 'rsa'})}.{payload}.",
        "HS256": f"{symmetric}.{payload}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        "another key": issuer.token(key=Key("rsa")),
        "an unknown key": issuer.token(key=Key("unknown")),
        "a short key": issuer.token(key=KEYS[2]),
        "another algorithm": f"{encode({'alg': 'PS256', 'kid': 'rsa'})}.{payload}.{signature}",
        "the key of another kid": issuer.token(key=KEYS[1], headers={"kid": "rsa"}),
        "another payload": f"{header}.{encode(claims | {'realm': {'roles': [ADMIN_VALUE]}})}.{signature}",
        "the issuer auth": issuer.token(iss="pulsetrack-auth", aud="pulsetrack", role="ADMIN", nbf=0, jti="x"),
        "a key of auth": trust.signer.token("ADMIN", iss=issuer.url, aud="clinic", realm={"roles": [ADMIN_VALUE]}),
    }
    assert {name: get_reason(billing, token) for name, token in forged.items()} == dict.fromkeys(
        forged, "TOKEN_INVALID"
    )


def test_removed_key_and_issuer_are_rejected(billing: Client, trust: Trust, issuer: Issuer) -> None:
    token, new = issuer.token(), Key("new")
    eventually(lambda: get_reason(billing, token) == ACCEPTED)
    issuer.keys = [new]
    eventually(lambda: get_reason(billing, token) == "TOKEN_INVALID")
    eventually(lambda: get_reason(billing, issuer.token(key=new)) == ACCEPTED)
    trust.issuer = None
    eventually(lambda: get_reason(billing, issuer.token(key=new)) == "TOKEN_INVALID")


def test_user_has_the_same_id_in_every_token() -> None:
    first, second = Issuer("https://login.example", KEYS[0]), Issuer("https://other.example", KEYS[0])

    def identify(issuer: Issuer, **claims: Any) -> str:
        return ExternalTokens(issuer.trust()).identify(issuer.token(**claims), KEYS[0].kid).id

    assert identify(first) == identify(first, jti="another") == identify(first, sub=SUBJECT)
    assert len({identify(first), identify(first, sub="ana|8"), identify(second)}) == 3


def encode(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
