"""Verification of access tokens at the gateway."""

from itertools import product

from envoy.extension import Config, extension
from envoy.names import JWT
from envoy.target import Address, ExternalIssuer, Target, socket_address
from services.common.protobuf.contract import SERVICES, methods
from services.common.rpc.token_rules import (
    CLOCK_SKEW_SECONDS,
    ISSUER,
    MAX_EXTERNAL_TOKEN_SECONDS,
    MAX_TOKEN_SECONDS,
    USERS_AUDIENCE,
)

METADATA = "token"
"""Dynamic metadata key of a verified token's claims, which the access log reads."""

_SCHEMES = tuple("".join(letters) for letters in product(*zip("Bearer", "bEARER", strict=True)))
"""All spellings of the scheme, which is case-insensitive (RFC 9110). Envoy compares it literally."""
_KEYS_CLUSTER = "keys"
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a key of the mapping, not a bind address


def jwt_filter(target: Target) -> Config:
    """Returns the filter that requires a token of a user or machine client, except on routes that disable it."""
    providers = {"users": _provider(ExternalIssuer(ISSUER, USERS_AUDIENCE), "GetJwks", MAX_TOKEN_SECONDS)}
    if external := target.external_issuer:
        providers["external"] = _provider(external, "GetExternalJwks", MAX_EXTERNAL_TOKEN_SECONDS)
    required = [{"provider_name": name} for name in providers]
    requires = required[0] if len(required) == 1 else {"requires_any": {"requirements": required}}
    rules = [{"match": {"prefix": "/"}, "requires": requires}]
    return extension(JWT, "filters.http.jwt_authn.v3.JwtAuthentication", providers=providers, rules=rules)


def _provider(issuer: ExternalIssuer, keys: str, max_seconds: int) -> Config:
    """Returns the provider of tokens of an issuer, whose keys a method returns."""
    return {
        "issuer": issuer.url,
        "audiences": [issuer.audience],
        "require_expiration": True,
        "clock_skew_seconds": CLOCK_SKEW_SECONDS,
        # Envoy compares `exp` with the current time. The services compare it with `iat`.
        "max_lifetime": f"{max_seconds + CLOCK_SKEW_SECONDS}s",
        "from_headers": [{"name": "Authorization", "value_prefix": f"{scheme} "} for scheme in _SCHEMES],
        "forward": True,  # each service verifies the token again
        "payload_in_metadata": METADATA,
        # A cached result is valid until the token expires, even if its key is revoked. The services then
        # reject the token. Without the cache, a GET costs the gateway 27% more CPU.
        "jwt_cache_config": {"jwt_cache_size": 1000},
        "remote_jwks": _remote_jwks(keys),
    }


def keys_cluster(target: Target) -> Config:
    """Returns the cluster from which Envoy fetches the keys: its own public listener, which transcodes GetJwks.

    Auth serves only gRPC, and the thread that prefetches the keys cannot use an internal listener.
    """
    listener = Address(_LOOPBACK.get(target.listen.host, target.listen.host), target.listen.port)
    endpoint = {"endpoint": {"address": socket_address(listener)}}
    return {
        "name": _KEYS_CLUSTER,
        "type": "STATIC",
        "load_assignment": {"cluster_name": _KEYS_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _remote_jwks(keys: str) -> Config:
    """Returns the key source. Envoy prefetches the keys every 10 s and retains them while auth is unavailable."""
    path = next(method.http[0].path for method in methods(SERVICES["auth"]) if method.name == keys)
    return {
        "http_uri": {"uri": f"http://{_KEYS_CLUSTER}{path}", "cluster": _KEYS_CLUSTER, "timeout": "2s"},
        "cache_duration": "10s",
        "async_fetch": {"fast_listener": True, "failed_refetch_duration": "0.5s"},
    }
