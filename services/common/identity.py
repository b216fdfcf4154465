"""Who calls: access tokens (RFC 9068) verified by auth's public keys."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec

from services.common.errors import DependencyUnavailable, TokenInvalid

ISSUER = "pulsetrack-auth"
PEOPLE_AUDIENCE = "pulsetrack"
SERVICES_AUDIENCE = "pulsetrack-services"
ALGORITHM = "ES256"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - the media type of RFC 9068, section 2.1
SERVICE_ROLE = "SERVICE"
CLOCK_SKEW_SECONDS = 30

_REFRESH_SECONDS = 300
_RETRY_SECONDS = 1
_CACHED_TOKENS = 10_000
_AUDIENCES = {"USER": PEOPLE_AUDIENCE, "ADMIN": PEOPLE_AUDIENCE, SERVICE_ROLE: SERVICES_AUDIENCE}

_log = logging.getLogger(__name__)

FetchJwks = Callable[[], Awaitable[bytes]]
"""Fetches a JSON Web Key Set (RFC 7517)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a verified token names."""

    id: str
    """The id of a user, or the client id of a service."""
    role: str
    """"USER", "ADMIN" or "SERVICE"."""
    expires: float
    """When the token stops being good, in seconds since the epoch, the clock skew included."""


class TokenVerifier:
    """Verifies access tokens, and remembers those that were good until they expire.

    Keys are fetched when they are first needed, every five minutes, and when a token names one that is not known, but
    not more often than once a second. Keys that are known stay in use while auth does not answer.
    """

    def __init__(self, fetch: FetchJwks) -> None:
        self._fetch = fetch
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._asked = float("-inf")
        self._fetching = asyncio.Lock()
        self._refreshing: asyncio.Task[None]
        self._callers: dict[str, Caller] = {}

    async def verify(self, token: str) -> Caller:
        """Returns whom the token names. Raises TokenInvalid; DependencyUnavailable if no keys can be had."""
        caller = self._callers.get(token)
        if caller is None:
            caller = _caller(_claims(token, await self._key(token)))
            if len(self._callers) >= _CACHED_TOKENS:
                self._callers.clear()
            self._callers[token] = caller
        if caller.expires <= time.time():
            self._callers.pop(token, None)
            raise TokenInvalid
        return caller

    async def _key(self, token: str) -> jwt.PyJWK:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise TokenInvalid from None
        if header.get("typ") != TOKEN_TYPE or header.get("alg") != ALGORITHM:
            raise TokenInvalid
        kid = header.get("kid", "")
        if kid not in self._keys:
            await self._refresh()
        elif time.monotonic() - self._fetched > _REFRESH_SECONDS and not self._fetching.locked():
            self._refreshing = asyncio.create_task(self._refresh())  # nobody waits for it: the known key is good still
        if key := self._keys.get(kid):
            return key
        if not self._keys:
            raise DependencyUnavailable
        raise TokenInvalid

    async def _refresh(self) -> None:
        async with self._fetching:
            if time.monotonic() - self._asked < _RETRY_SECONDS:
                return
            self._asked = time.monotonic()
            try:
                jwks = msgspec.json.decode(await self._fetch())
                self._keys = {key["kid"]: jwt.PyJWK(key, algorithm=ALGORITHM) for key in jwks["keys"]}
                self._fetched = time.monotonic()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with auth, known keys stay in use
                _log.warning("no keys from auth: %r", error.__cause__ or error)


def _claims(token: str, key: jwt.PyJWK) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=[PEOPLE_AUDIENCE, SERVICES_AUDIENCE],
            issuer=ISSUER,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": ["iss", "aud", "sub", "role", "jti", "iat", "nbf", "exp"]},
        )
    except jwt.PyJWTError:
        raise TokenInvalid from None


def _caller(claims: dict[str, Any]) -> Caller:
    role = claims["role"]
    if not isinstance(role, str) or _AUDIENCES.get(role) != claims["aud"]:
        raise TokenInvalid
    return Caller(id=claims["sub"], role=role, expires=claims["exp"] + CLOCK_SKEW_SECONDS)
