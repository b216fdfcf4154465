"""Verification of access tokens (RFC 9068) with auth's public keys."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import msgspec

from gen.pulsetrack.auth.v1 import ExternalIssuer, Revocation, TrustBundle
from services.common.context import Caller
from services.common.errors import DependencyUnavailable, TokenInvalid, UserDisabled
from services.common.rpc.external_tokens import ExternalTokens
from services.common.rpc.token_rules import (
    ALGORITHM,
    CLIENT_ROLE,
    CLOCK_SKEW_SECONDS,
    ISSUER,
    MAX_TOKEN_SECONDS,
    SERVICE_ROLE,
    SERVICES_AUDIENCE,
    TOKEN_TYPE,
    USERS_AUDIENCE,
)

REFRESH_SECONDS = 1.0
"""The interval at which keys are read from auth, and the minimum interval between reads for unknown keys."""

_KEYS_VALID_SECONDS = 900
_CACHED_TOKENS = 10_000
_SUBJECT = re.compile("[!-~]{1,64}")
"""A user id or client id. A leaked key can sign any text, and a text that Postgres rejects would block the audit."""

_AUDIENCES = {
    "USER": USERS_AUDIENCE,
    "ADMIN": USERS_AUDIENCE,
    CLIENT_ROLE: USERS_AUDIENCE,
    SERVICE_ROLE: SERVICES_AUDIENCE,
}

_log = logging.getLogger(__name__)

FetchTrust = Callable[[], Awaitable[TrustBundle]]
"""Fetches auth's public keys and revocations."""


class TokenVerifier:
    """Verifies access tokens with auth's current public keys and revocations.

    The server calls `refresh` every second. Verified tokens are cached until the key set changes. While auth is
    unavailable, the last keys and revocations stay in use for 15 minutes. After that, calls fail with
    DependencyUnavailable.
    """

    def __init__(self, fetch: FetchTrust) -> None:
        self._fetch = fetch
        self._jwks = b""
        self._keys: dict[str, jwt.PyJWK] = {}
        self._issuer: ExternalIssuer | None = None
        self._external: ExternalTokens | None = None
        self._key_ids: frozenset[str] = frozenset()
        self._fetched_at = self._attempted_at = float("-inf")
        self._is_auth_available = True
        self._refresh_lock = asyncio.Lock()
        self._callers: dict[str, Caller] = {}
        self._revocations: dict[str, Revocation] = {}
        self._ended_sessions: frozenset[str] = frozenset()

    async def verify(self, token: str) -> Caller:
        """Returns the caller that a token identifies.

        Raises TokenInvalid, UserDisabled, DependencyUnavailable if there are no keys.
        """
        caller = self._callers.get(token)
        if caller is None:
            caller = await self._identify(token)
            if len(self._callers) >= _CACHED_TOKENS:
                self._callers.clear()
            self._callers[token] = caller
        self.check(caller)
        return caller

    def check(self, caller: Caller) -> None:
        """Checks that a caller's token is still valid.

        Raises TokenInvalid, UserDisabled, DependencyUnavailable if there are no keys.
        """
        revocation = self._revocations.get(caller.id)
        if revocation and caller.token_version < revocation.token_version:
            raise UserDisabled if revocation.disabled else TokenInvalid
        if caller.session_id in self._ended_sessions:
            raise TokenInvalid
        if caller.key_id not in self._key_ids:
            raise TokenInvalid if self._keys else DependencyUnavailable
        if caller.expires <= time.time():
            raise TokenInvalid

    async def ready(self) -> None:
        """Checks that there are keys, and reads them if there are none. Raises DependencyUnavailable."""
        if not self._keys:
            await self.refresh()
        if not self._keys:
            raise DependencyUnavailable

    async def refresh(self) -> None:
        """Reads keys and revocations from auth. Logs a failure instead of raising it."""
        async with self._refresh_lock:
            await self._read()

    async def _identify(self, token: str) -> Caller:
        """Returns the caller of a token of auth or of the external issuer. The key decides which of them it is."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise TokenInvalid from None
        kid, is_own = header.get("kid", ""), header.get("typ") == TOKEN_TYPE and header.get("alg") == ALGORITHM
        if not (is_own or self._external):
            raise TokenInvalid
        if not self._has_key(kid):
            async with self._refresh_lock:
                if time.monotonic() - self._attempted_at >= REFRESH_SECONDS:
                    await self._read()
        if is_own and (key := self._keys.get(kid)):
            return _read_caller(_decode_claims(token, key), key)
        if self._external and self._external.has_key(kid):
            return self._external.identify(token, kid)
        if not self._keys:
            raise DependencyUnavailable
        raise TokenInvalid

    def _has_key(self, kid: str) -> bool:
        return kid in self._keys or (self._external is not None and self._external.has_key(kid))

    async def _read(self) -> None:
        try:
            trust = await self._fetch()
            self._update_keys(trust.jwks)
            self._update_issuer(trust.external_issuer)
            self._revocations = {revocation.user_id: revocation for revocation in trust.revocations}
            self._ended_sessions = frozenset(trust.ended_session_ids)
            self._fetched_at, self._is_auth_available = time.monotonic(), True
        except Exception as error:  # noqa: BLE001 - known keys stay in use, whatever the failure
            if self._is_auth_available:
                _log.warning("cannot read the keys of auth: %r", error.__cause__ or error)
            self._is_auth_available = False
            if time.monotonic() - self._fetched_at > _KEYS_VALID_SECONDS:
                self._replace_keys({})
        self._attempted_at = time.monotonic()

    def _update_keys(self, jwks: bytes) -> None:
        if jwks != self._jwks or not self._keys:
            keys = msgspec.json.decode(jwks)["keys"]
            self._replace_keys({key["kid"]: jwt.PyJWK(key, algorithm=ALGORITHM) for key in keys})
            self._jwks = jwks

    def _update_issuer(self, issuer: ExternalIssuer | None) -> None:
        if issuer != self._issuer:
            self._external = ExternalTokens(issuer) if issuer else None
            self._issuer = issuer
            self._replace_keys(self._keys)

    def _replace_keys(self, keys: dict[str, jwt.PyJWK]) -> None:
        self._keys = keys
        self._key_ids = frozenset(keys) | (self._external.key_ids if self._external and keys else frozenset())
        self._callers.clear()  # their keys may have been removed


def _decode_claims(token: str, key: jwt.PyJWK) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=[USERS_AUDIENCE, SERVICES_AUDIENCE],
            issuer=ISSUER,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": ["iss", "aud", "sub", "role", "jti", "iat", "nbf", "exp"]},
        )
    except (jwt.PyJWTError, ArithmeticError, TypeError, ValueError):  # PyJWT raises the others for some invalid claims
        raise TokenInvalid from None


def _read_caller(claims: dict[str, Any], key: jwt.PyJWK) -> Caller:
    version, session_id = claims.get("token_version", 0), claims.get("sid", "")
    role, issued, expires = claims["role"], claims["iat"], claims["exp"]
    if not isinstance(role, str) or _AUDIENCES.get(role) != claims["aud"]:
        raise TokenInvalid
    if not (isinstance(issued, int) and isinstance(expires, int) and expires - issued <= MAX_TOKEN_SECONDS):
        raise TokenInvalid
    if not (isinstance(version, int) and isinstance(session_id, str) and _SUBJECT.fullmatch(claims["sub"])):
        raise TokenInvalid
    return Caller(
        claims["sub"],
        role,
        expires,
        key_id=str(key.key_id),
        token_version=version,
        session_id=session_id,
        scopes=_read_scopes(claims) if role == CLIENT_ROLE else frozenset(),
    )


def _read_scopes(claims: dict[str, Any]) -> frozenset[str]:
    """Returns the scopes of a machine client. Its token must have a session, which makes it revocable."""
    scope = claims.get("scope")
    if not (isinstance(scope, str) and claims.get("client_id") == claims["sub"] and claims.get("sid")):
        raise TokenInvalid
    return frozenset(scope.split())
