"""Forged access tokens: what an attacker without the private key can create."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from services.auth.opaque_tokens import create_token
from tests.harness.tokens import Signer

Forge = Callable[[Signer], str]
"""Creates a forged token, given the signer of valid ones."""


def without_signature_algorithm(signer: Signer) -> str:
    header = {"kid": signer.kid, "typ": "at+jwt"}
    return jwt.encode(signer.claims("ADMIN"), None, algorithm="none", headers=header)  # type: ignore[arg-type]


def with_signature_removed(signer: Signer) -> str:
    return signer.token("ADMIN").rpartition(".")[0] + "."


def signed_with_public_key_as_secret(signer: Signer) -> str:
    secret = signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing_input = (
        f"{encode_part({'alg': 'HS256', 'kid': signer.kid, 'typ': 'at+jwt'})}.{encode_part(signer.claims('ADMIN'))}"
    )
    signature = hmac.digest(secret, signing_input.encode(), hashlib.sha256)
    return f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def signed_with_another_key(signer: Signer) -> str:
    return Signer(signer.kid).token("ADMIN")


def signed_with_unknown_key(_: Signer) -> str:
    return Signer("another-key").token("ADMIN")


def signed_with_embedded_key(signer: Signer) -> str:
    own = Signer(signer.kid)
    return own.token("ADMIN", headers={"jwk": ECAlgorithm.to_jwk(own.key.public_key(), as_dict=True)})


def without_key_id(signer: Signer) -> str:
    return signer.token("ADMIN", headers={"kid": ""})


def with_replaced_payload(signer: Signer) -> str:
    header, _, signature = signer.token("USER").split(".")
    return f"{header}.{encode_part(signer.claims('ADMIN'))}.{signature}"


def a_refresh_token(_: Signer) -> str:
    return create_token()


FORGERIES: tuple[Forge, ...] = (
    without_signature_algorithm,
    with_signature_removed,
    signed_with_public_key_as_secret,
    signed_with_another_key,
    signed_with_unknown_key,
    signed_with_embedded_key,
    without_key_id,
    with_replaced_payload,
    a_refresh_token,
)


def encode_part(value: dict[str, Any]) -> str:
    """Returns a header or payload as it appears in a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
