"""Signing keys, access tokens and refresh tokens."""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self, cast
from uuid import uuid4

import jwt
import msgspec
from asyncpg import Record
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm
from msgspec import Meta

from gen.pulsetrack.auth.v1 import Revocation, TrustBundle
from services.auth.client_store import LIST_ENDED_SECRETS
from services.auth.session_store import LIST_ENDED_SESSIONS, MAX_ENDED, TOKEN_VALIDITY
from services.auth.trust_store import INSERT_SIGNING_KEY, LIST_REVOCATIONS, LIST_SIGNING_KEYS, LOCK_SIGNING_KEYS
from services.common.background import BackgroundTask
from services.common.errors import DependencyUnavailable
from services.common.postgres.database import Database
from services.common.rpc.token_rules import ALGORITHM, ISSUER, TOKEN_TYPE
from services.common.settings import SettingsError

KeyPassphrase = Annotated[
    str,
    Meta(
        min_length=16,
        description="Passphrase that encrypts the signing keys, the secrets of second factors and waiting mail in the "
        "database.",
    ),
]

_STALE_SECONDS = 30

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An ES256 key."""

    id: str
    private: ec.EllipticCurvePrivateKey
    activate_time: datetime
    """When the key starts to sign. Its public key is published earlier, so every verifier has it by then."""


class SigningKeys:
    """The signing keys and the token revocations in the database. One key signs; all keys verify.

    Private keys are encrypted with a passphrase. Entering the context loads the keys and creates one if there is none;
    it raises SettingsError for a wrong passphrase. Keys and revocations are reloaded every second.
    """

    def __init__(self, db: Database, passphrase: str, *, reload_seconds: float = 1) -> None:
        self._db = db
        self._passphrase = passphrase
        self._keys: Sequence[SigningKey] = ()
        self._revocations: list[Revocation] = []
        self._ended_sessions: list[str] = []
        self._loaded = 0.0
        self._is_readable = True
        self._reloading = BackgroundTask(self._reload, activity="reading the signing keys", interval=reload_seconds)

    async def __aenter__(self) -> Self:
        await self._load()
        self._reloading.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reloading.stop()

    def sign(self, *, subject: str, role: str, audience: str, seconds: int, **claims: object) -> str:
        """Returns an access token (RFC 9068) that expires after the given number of seconds.

        A user's token also has the claims `token_version` and `sid`, the id of the session. A machine client's has
        `client_id`, `scope` and `sid`, the id of the secret.
        """
        now = int(time.time())
        payload = {
            "iss": ISSUER,
            "aud": audience,
            "sub": subject,
            "role": role,
            "jti": str(uuid4()),
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            **claims,
        }
        key = self._find_active_key(datetime.fromtimestamp(now, UTC))
        return jwt.encode(payload, key.private, algorithm=ALGORITHM, headers={"kid": key.id, "typ": TOKEN_TYPE})

    def jwks(self) -> bytes:
        """Returns the public keys as a JSON Web Key Set (RFC 7517).

        Raises DependencyUnavailable if the last successful read of the database was more than 30 s ago.
        """
        if time.monotonic() - self._loaded > _STALE_SECONDS:
            raise DependencyUnavailable
        return msgspec.json.encode({"keys": [_build_public_jwk(key) for key in self._keys]})

    def trust_bundle(self) -> TrustBundle:
        """Returns the public keys and the revocations. Raises DependencyUnavailable, as `jwks` does."""
        return TrustBundle(jwks=self.jwks(), revocations=self._revocations, ended_session_ids=self._ended_sessions)

    def _find_active_key(self, now: datetime) -> SigningKey:
        """Returns the key that was activated last, or the oldest key if this clock is behind the database's."""
        return next((key for key in self._keys if key.activate_time <= now), self._keys[-1])

    async def _load(self) -> None:
        rows = await self._db.rows(LIST_SIGNING_KEYS) or await self._create_first_key()
        known = {key.id: key for key in self._keys}  # decrypting a key takes milliseconds
        self._keys = [known.get(row["id"]) or decrypt_key(row, self._passphrase) for row in rows]
        revoked = await self._db.rows(LIST_REVOCATIONS, within=TOKEN_VALIDITY)
        self._revocations = [Revocation(str(row["id"]), row["token_version"], row["disabled"]) for row in revoked]
        ended = await self._db.rows(LIST_ENDED_SESSIONS, within=TOKEN_VALIDITY)
        secrets = await self._db.rows(LIST_ENDED_SECRETS, within=TOKEN_VALIDITY)
        if len(ended) == MAX_ENDED > len(self._ended_sessions):
            _log.error("too many sessions ended recently: tokens of the oldest remain valid until they expire")
        self._ended_sessions = [str(row["id"]) for row in (*ended, *secrets)]
        self._loaded = time.monotonic()

    async def _create_first_key(self) -> Sequence[Record]:
        """Creates the first key, unless another process has created one. Returns the keys."""
        async with self._db.begin() as tx:
            await tx.run(LOCK_SIGNING_KEYS)
            if rows := await tx.rows(LIST_SIGNING_KEYS):
                return rows
            return await tx.rows(INSERT_SIGNING_KEY, activates_in=timedelta(), **create_key(self._passphrase))

    async def _reload(self) -> None:
        """Reloads the keys. If that fails, the loaded keys stay in use, and the first of several failures is logged."""
        try:
            await self._load()
            self._is_readable = True
        except Exception as error:  # noqa: BLE001 - also for a bug
            if self._is_readable:
                _log.warning("the signing keys cannot be read: %r", error.__cause__ or error)
            self._is_readable = False


def create_key(passphrase: str) -> dict[str, str]:
    """Returns the columns of a new signing key."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode()))
    return {"id": hashlib.sha256(public).hexdigest()[:16], "encrypted_pem": pem.decode()}


def decrypt_key(row: Record, passphrase: str) -> SigningKey:
    """Returns the signing key of a row. Raises SettingsError for a wrong passphrase."""
    try:
        private = load_pem_private_key(row["encrypted_pem"].encode(), passphrase.encode())
    except ValueError:
        raise SettingsError("PULSETRACK_KEY_PASSPHRASE does not decrypt the signing keys in the database") from None
    return SigningKey(row["id"], cast("ec.EllipticCurvePrivateKey", private), row["activate_time"])


def _build_public_jwk(key: SigningKey) -> dict[str, Any]:
    public = ECAlgorithm.to_jwk(key.private.public_key(), as_dict=True)
    return public | {"kid": key.id, "use": "sig", "alg": ALGORITHM}
