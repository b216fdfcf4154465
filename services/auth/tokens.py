"""The keys that sign access tokens, and the tokens."""

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Self, cast
from uuid import uuid4

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm

from services.auth.models import INSERT_SIGNING_KEY, LIST_SIGNING_KEYS, LOCK_SIGNING_KEYS
from services.common.db import Database
from services.common.identity import ALGORITHM, ISSUER, TOKEN_TYPE
from services.common.settings import SettingsError


@dataclass(frozen=True)
class SigningKeys:
    """ES256 keys by their id, the one that signs first. They are kept in the database, encrypted by a passphrase."""

    keys: dict[str, ec.EllipticCurvePrivateKey]

    @classmethod
    async def load(cls, db: Database, passphrase: str) -> Self:
        """Reads the keys, and makes the first if there is none. Raises SettingsError for a wrong passphrase."""
        secret = passphrase.encode()
        async with db.begin() as tx:
            await tx.row(LOCK_SIGNING_KEYS)
            rows = await tx.rows(LIST_SIGNING_KEYS)
            if not rows:
                key_id, pem = _new_key(secret)
                rows = await tx.rows(INSERT_SIGNING_KEY, id=key_id, encrypted_pem=pem)
        return cls({row["id"]: _private_key(row["encrypted_pem"], secret) for row in rows})

    def sign(self, *, subject: str, role: str, audience: str, seconds: int) -> str:
        """Returns an access token (RFC 9068) that is good from now on for so many seconds."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": subject,
            "role": role,
            "jti": str(uuid4()),
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
        }
        key_id, key = next(iter(self.keys.items()))
        return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id, "typ": TOKEN_TYPE})

    def jwks(self) -> bytes:
        """Returns the public keys as a JSON Web Key Set (RFC 7517)."""
        return msgspec.json.encode(
            {
                "keys": [
                    ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": key_id, "use": "sig", "alg": ALGORITHM}
                    for key_id, key in self.keys.items()
                ]
            }
        )


def new_refresh_token() -> str:
    """Returns a refresh token that nobody can guess: 256 random bits."""
    return secrets.token_urlsafe(32)


def digest(refresh_token: str) -> bytes:
    """Returns what is stored of a refresh token. One round of SHA-256 is enough for what was never a password."""
    return hashlib.sha256(refresh_token.encode()).digest()


def _new_key(passphrase: bytes) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    return hashlib.sha256(public).hexdigest()[:16], pem.decode()


def _private_key(pem: str, passphrase: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        return cast("ec.EllipticCurvePrivateKey", load_pem_private_key(pem.encode(), passphrase))
    except ValueError:
        raise SettingsError("PULSETRACK_KEY_PASSPHRASE does not open the signing keys in the database") from None
