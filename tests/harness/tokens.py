"""Access tokens for tests, signed like those of auth, with any claims."""

import time
from typing import Any
from uuid import uuid4

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from gen.pulsetrack.auth.v1 import TrustBundle
from services.common.protobuf.contract import all_scopes
from services.common.rpc.token_rules import CLIENT_ROLE, MAX_TOKEN_SECONDS

ADMIN_ID = str(uuid4())
USER_ID = str(uuid4())


class Signer:
    """Signs tokens with its own key and publishes the public key as a key set."""

    def __init__(self, kid: str = "test-key") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.kid = kid

    async def trust(self) -> TrustBundle:
        """Returns a bundle of the key set without revocations, for TokenVerifier."""
        return TrustBundle(jwks=build_jwks(self))

    def token(self, role: str, /, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Returns a token that is valid for a minute. The given claims and headers replace the defaults."""
        return jwt.encode(
            self.claims(role, **claims),
            self.key,
            algorithm="ES256",
            headers={"kid": self.kid, "typ": "at+jwt"} | (headers or {}),
        )

    def long_lived_token(self, role: str, **claims: Any) -> str:
        """Returns a token with the maximum lifetime."""
        return self.token(role, exp=int(time.time()) + MAX_TOKEN_SECONDS, **claims)

    def claims(self, role: str, /, **claims: Any) -> dict[str, Any]:
        """Returns the claims of a token that is valid for a minute. A claim given as None is omitted."""
        now = int(time.time())
        defaults: dict[str, Any] = {
            "iss": "pulsetrack-auth",
            "aud": "pulsetrack-services" if role == "SERVICE" else "pulsetrack",
            "sub": {"USER": USER_ID, "ADMIN": ADMIN_ID}.get(role, "patient"),
            "role": role,
            "jti": str(uuid4()),
            "iat": now,
            "nbf": now,
            "exp": now + 60,
        }
        if role == CLIENT_ROLE:
            defaults |= {"client_id": defaults["sub"], "scope": " ".join(all_scopes()), "sid": str(uuid4())}
        return {name: value for name, value in (defaults | claims).items() if value is not None}


def build_jwks(*signers: Signer) -> bytes:
    """Returns the JSON Web Key Set of signers."""
    keys = [
        ECAlgorithm.to_jwk(signer.key.public_key(), as_dict=True) | {"kid": signer.kid, "use": "sig", "alg": "ES256"}
        for signer in signers
    ]
    return msgspec.json.encode({"keys": keys})
