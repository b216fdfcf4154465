"""The keys of the external OpenID Connect issuer. Auth reads them for all services and for the gateway.

While the issuer is unavailable, the keys that were read last stay in use.
"""

import asyncio
import logging
import urllib.request
from dataclasses import replace
from typing import Any, NoReturn, Self
from urllib.request import HTTPRedirectHandler

import msgspec

from gen.pulsetrack.auth.v1 import ExternalIssuer
from services.auth.external_settings import is_secure_url
from services.common.background import BackgroundTask
from services.common.rpc.external_tokens import read_keys

REFRESH_SECONDS = 60.0
NO_KEYS = b'{"keys":[]}'

_TIMEOUT_SECONDS = 5
_MAX_BYTES = 256 * 1024
_DISCOVERY = "/.well-known/openid-configuration"

_log = logging.getLogger(__name__)


class IssuerError(Exception):
    """Raised when the issuer is unavailable or its response is not valid."""


class _Discovery(msgspec.Struct):
    """The part of the issuer's metadata that is used (OpenID Connect Discovery, section 3)."""

    issuer: str
    jwks_uri: str


class _NoRedirects(HTTPRedirectHandler):
    """Rejects redirects, which could lead to another host."""

    def redirect_request(self, *_: object) -> NoReturn:
        raise IssuerError("redirects are not followed")


_opener = urllib.request.build_opener(_NoRedirects)


class ExternalKeys:
    """The external issuer and its keys, which are read again every minute. Without an issuer, there are none."""

    def __init__(self, issuer: ExternalIssuer | None, *, refresh_seconds: float = REFRESH_SECONDS) -> None:
        self._issuer = issuer and replace(issuer, jwks=NO_KEYS)
        self._is_available = True
        self._task = BackgroundTask(
            self._refresh, activity="reading the keys of the external issuer", interval=refresh_seconds
        )

    async def __aenter__(self) -> Self:
        if self._issuer:
            self._task.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._issuer:
            await self._task.stop()

    @property
    def issuer(self) -> ExternalIssuer | None:
        """The issuer with its keys, or None if the operator has configured none."""
        return self._issuer

    @property
    def jwks(self) -> bytes:
        """The keys as a JSON Web Key Set."""
        return self._issuer.jwks if self._issuer else NO_KEYS

    async def _refresh(self) -> None:
        """Reads the keys. If that fails, those read last stay in use, and the first of several failures is logged."""
        if self._issuer is None:
            return
        try:
            jwks = await asyncio.to_thread(fetch_keys, self._issuer.issuer)
        except IssuerError as error:
            if self._is_available:
                _log.warning("cannot read the keys of the external issuer: %s", error)
            self._is_available = False
        else:
            self._issuer, self._is_available = replace(self._issuer, jwks=jwks), True


def fetch_keys(issuer: str) -> bytes:
    """Returns the key set of an issuer, whose location its metadata names. Raises IssuerError."""
    try:
        discovery = msgspec.json.decode(_fetch(issuer.rstrip("/") + _DISCOVERY), type=_Discovery)
        if discovery.issuer != issuer:
            raise IssuerError(f"the metadata belong to the issuer {discovery.issuer!r}")
        if not is_secure_url(discovery.jwks_uri):
            raise IssuerError("the URL of the keys does not begin with https://")
        jwks = _fetch(discovery.jwks_uri)
        keys: dict[str, Any] = dict(read_keys(jwks))
    except ValueError as error:
        raise IssuerError(f"a response is not valid: {error}") from None
    if not keys:
        raise IssuerError("the key set contains no usable key")
    return jwks


def _fetch(url: str) -> bytes:
    """Returns the body of a response. Raises IssuerError."""
    try:
        with _opener.open(url, timeout=_TIMEOUT_SECONDS) as response:
            body: bytes = response.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # HTTPError and timeouts are OSErrors
        raise IssuerError(str(error)) from error
    if len(body) > _MAX_BYTES:
        raise IssuerError(f"the response exceeds {_MAX_BYTES} bytes")
    return body
