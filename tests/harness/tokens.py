"""Tokens as auth signs them, and as it never would."""

import time
from typing import Any
from uuid import uuid4

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from gen.pulsetrack.auth.v1 import TrustBundle
from services.common.rpc.tokens import MAX_TOKEN_SECONDS

ADMIN_ID = str(uuid4())
USER_ID = str(uuid4())


class Signer:
    """Signs tokens with a key of its own, whose public half it offers as a key set."""

    def __init__(self, kid: str = "test-key") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.kid = kid

    async def trust(self) -> TrustBundle:
        """Returns the key set and no revocation, as TokenVerifier fetches them."""
        return TrustBundle(jwks=build_jwks(self))

    def token(self, role: str, /, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Returns a token that is good for a minute, with the claims and headers given in place of the usual ones."""
        return jwt.encode(
            self.claims(role, **claims),
            self.key,
            algorithm="ES256",
            headers={"kid": self.kid, "typ": "at+jwt"} | (headers or {}),
        )

    def long_lived_token(self, role: str) -> str:
        """Returns a token of the longest lifetime."""
        return self.token(role, exp=int(time.time()) + MAX_TOKEN_SECONDS)

    def claims(self, role: str, /, **claims: Any) -> dict[str, Any]:
        """Returns the claims of such a token, without those that are given as None."""
        now = int(time.time())
        usual = {
            "iss": "pulsetrack-auth",
            "aud": "pulsetrack-services" if role == "SERVICE" else "pulsetrack",
            "sub": {"USER": USER_ID, "ADMIN": ADMIN_ID}.get(role, "patient"),
            "role": role,
            "jti": str(uuid4()),
            "iat": now,
            "nbf": now,
            "exp": now + 60,
        }
        return {name: value for name, value in (usual | claims).items() if value is not None}


def build_jwks(*signers: Signer) -> bytes:
    """Returns the key set of some signers."""
    keys = [
        ECAlgorithm.to_jwk(signer.key.public_key(), as_dict=True) | {"kid": signer.kid, "use": "sig", "alg": "ES256"}
        for signer in signers
    ]
    return msgspec.json.encode({"keys": keys})
