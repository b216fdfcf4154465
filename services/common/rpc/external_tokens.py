"""Verification of the tokens of an external OpenID Connect issuer, as strict as that of auth's own tokens."""

import logging
from collections.abc import Iterator
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gen.pulsetrack.auth.v1 import ExternalIssuer
from services.common.context import Caller
from services.common.errors import TokenInvalid
from services.common.rpc.token_rules import CLOCK_SKEW_SECONDS, MAX_EXTERNAL_TOKEN_SECONDS

_ALGORITHM_OF = {("RSA", None): "RS256", ("EC", "P-256"): "ES256"}
"""The signature algorithms that are accepted, by the type and the curve of the key."""
_MIN_RSA_BITS = 2048
_MAX_SUBJECT = 255  # OpenID Connect Core, section 2

_log = logging.getLogger(__name__)


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


class ExternalTokens:
    """Identifies users by the tokens of an external issuer.

    A user has the same id in all tokens: a UUID that derives from the issuer and the subject (RFC 9562, version 5).
    """

    def __init__(self, issuer: ExternalIssuer) -> None:
        self._issuer = issuer
        self._keys = dict(read_keys(issuer.jwks))
        self._namespace = uuid5(NAMESPACE_URL, issuer.issuer)
        self.key_ids = frozenset(map(self._key_id, self._keys))
        """The ids of the keys, as `Caller.key_id` has them. None equals that of a key of auth."""

    def has_key(self, kid: str) -> bool:
        """Returns whether the issuer has published a key with an id."""
        return kid in self._keys

    def identify(self, token: str, kid: str) -> Caller:
        """Returns the user that a token identifies, given the id of its key. Raises TokenInvalid."""
        claims = self._decode(token, self._keys[kid])
        issued, expires, subject = claims["iat"], claims["exp"], claims["sub"]
        if not (isinstance(issued, int | float) and isinstance(expires, int | float)):
            raise TokenInvalid
        if not 0 < expires - issued <= MAX_EXTERNAL_TOKEN_SECONDS or not 0 < len(subject) <= _MAX_SUBJECT:
            raise TokenInvalid
        user_id = str(uuid5(self._namespace, subject))
        return Caller(user_id, self._find_role(claims), expires, key_id=self._key_id(kid), is_external=True)

    def _decode(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._issuer.audience,
                issuer=self._issuer.issuer,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["iss", "aud", "sub", "iat", "exp"]},
            )
        except (jwt.PyJWTError, ArithmeticError, TypeError, ValueError):  # PyJWT raises the others for invalid claims
            raise TokenInvalid from None

    def _find_role(self, claims: dict[str, Any]) -> str:
        """Returns the highest role that the values of the claim grant. Raises TokenInvalid if they grant none."""
        value: Any = claims
        for name in self._issuer.role_claim.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        if any(each in self._issuer.admin_values for each in values):
            return "ADMIN"
        if any(each in self._issuer.user_values for each in values):
            return "USER"
        raise TokenInvalid

    def _key_id(self, kid: str) -> str:
        return f"{self._issuer.issuer}#{kid}"


def read_keys(jwks: bytes) -> Iterator[tuple[str, jwt.PyJWK]]:
    """Yields the id and the key of each usable signing key of a set. Raises ValueError if it is not valid."""
    for each in msgspec.json.decode(jwks, type=_KeySet).keys:
        algorithm = _ALGORITHM_OF.get((str(each.get("kty")), each.get("crv")))
        kid = each.get("kid")
        if algorithm is None or not isinstance(kid, str) or "d" in each:  # a private key
            continue
        if each.get("alg", algorithm) != algorithm or each.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(each, algorithm=algorithm)
        except (jwt.PyJWTError, ValueError, TypeError):
            _log.warning("a key of the external issuer is invalid")
            continue
        if not isinstance(key.key, RSAPublicKey) or key.key.key_size >= _MIN_RSA_BITS:
            yield kid, key
