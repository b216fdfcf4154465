"""Access tokens (ES256) and passwords (argon2id)."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast
from uuid import uuid4

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fastapi import HTTPException, Request

ISSUER = "twin"
USERS = "twin"
SERVICES = "twin-services"
TOKEN_SECONDS = 900
_KEY_ID = "twin"
_CACHED_TOKENS = 10_000
_REQUIRED = ["iss", "aud", "sub", "role", "iat", "nbf", "exp"]


@dataclass(frozen=True, slots=True)
class Caller:
    """The verified identity of a caller."""

    id: str
    role: str
    expires: int


class Tokens:
    """Signs and verifies tokens. Verified tokens may be cached until they expire."""

    def __init__(self, signing_key: str, audience: str, *, is_cached: bool = True) -> None:
        self._private = cast("EllipticCurvePrivateKey", load_pem_private_key(signing_key.encode(), None))
        self._public = self._private.public_key()
        self._audience = audience
        self._callers: dict[str, Caller] = {}
        self._is_cached = is_cached

    def sign(self, *, subject: str, role: str, audience: str) -> str:
        """Returns a token."""
        now = int(time.time())
        times = {"iat": now, "nbf": now, "exp": now + TOKEN_SECONDS}
        claims = {"iss": ISSUER, "aud": audience, "sub": subject, "role": role, "jti": str(uuid4()), **times}
        return jwt.encode(claims, self._private, algorithm="ES256", headers={"kid": _KEY_ID, "typ": "at+jwt"})

    def verify(self, token: str) -> Caller:
        """Returns the caller that a token identifies. Raises HTTPException."""
        caller = self._callers.get(token)
        if caller is None:
            caller = self._read(token)
            if len(self._callers) >= _CACHED_TOKENS:
                self._callers.clear()
            if self._is_cached:
                self._callers[token] = caller
        if caller.expires <= time.time():
            raise HTTPException(401, "TOKEN_INVALID")
        return caller

    def _read(self, token: str) -> Caller:
        options = {"require": _REQUIRED}
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=["ES256"],
                audience=self._audience,
                issuer=ISSUER,
                leeway=30,
                options=options,  # type: ignore[arg-type]
            )
        except jwt.PyJWTError:
            raise HTTPException(401, "TOKEN_INVALID") from None
        return Caller(claims["sub"], claims["role"], claims["exp"])


class Roles:
    """A dependency that verifies the token and its role."""

    def __init__(self, *roles: str) -> None:
        self._roles = frozenset(roles)

    async def __call__(self, request: Request) -> Caller:
        """Returns the caller. Raises HTTPException."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise HTTPException(401, "TOKEN_MISSING")
        caller: Caller = request.app.state.tokens.verify(token)
        if caller.role not in self._roles:
            raise HTTPException(403, "ROLE_REQUIRED")
        return caller


class Passwords:
    """Hashes and verifies passwords in two threads, with the parameters of PulseTrack."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="argon2")
        self._placeholder_hash = self._hasher.hash("")

    def hash(self, password: str) -> str:
        """Returns the hash to store."""
        return self._hasher.hash(password)

    async def verify(self, stored_hash: str | None, password: str) -> bool:
        """Returns whether the password matches the hash. Takes the same time if there is no hash."""
        loop = asyncio.get_running_loop()
        matches = await loop.run_in_executor(
            self._threads, self._matches, stored_hash or self._placeholder_hash, password
        )
        return matches and stored_hash is not None

    def _matches(self, stored_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored_hash, password)
        except VerifyMismatchError:
            return False
