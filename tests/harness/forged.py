"""Tokens that look like auth's and are not, for whoever knows all of it but the private key."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from services.auth.tokens import create_refresh_token
from tests.harness.tokens import Signer

Forge = Callable[[Signer], str]
"""Makes a token, given who signs the real ones."""


def unsigned(signer: Signer) -> str:
    header = {"kid": signer.kid, "typ": "at+jwt"}
    return jwt.encode(signer.claims("ADMIN"), None, algorithm="none", headers=header)  # type: ignore[arg-type]


def without_its_signature(signer: Signer) -> str:
    return signer.token("ADMIN").rpartition(".")[0] + "."


def signed_with_the_public_key_as_a_secret(signer: Signer) -> str:
    secret = signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{encoded({'alg': 'HS256', 'kid': signer.kid, 'typ': 'at+jwt'})}.{encoded(signer.claims('ADMIN'))}"
    signature = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def signed_with_another_key(signer: Signer) -> str:
    return Signer(signer.kid).token("ADMIN")


def signed_with_an_unknown_key(_: Signer) -> str:
    return Signer("another-key").token("ADMIN")


def signed_with_a_key_it_brings_along(signer: Signer) -> str:
    own = Signer(signer.kid)
    return own.token("ADMIN", headers={"jwk": ECAlgorithm.to_jwk(own.key.public_key(), as_dict=True)})


def that_names_no_key(signer: Signer) -> str:
    return signer.token("ADMIN", headers={"kid": ""})


def with_another_payload(signer: Signer) -> str:
    header, _, signature = signer.token("USER").split(".")
    return f"{header}.{encoded(signer.claims('ADMIN'))}.{signature}"


def that_is_a_refresh_token(_: Signer) -> str:
    return create_refresh_token()


FORGERIES: tuple[Forge, ...] = (
    unsigned,
    without_its_signature,
    signed_with_the_public_key_as_a_secret,
    signed_with_another_key,
    signed_with_an_unknown_key,
    signed_with_a_key_it_brings_along,
    that_names_no_key,
    with_another_payload,
    that_is_a_refresh_token,
)


def encoded(value: dict[str, Any]) -> str:
    """Returns a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
