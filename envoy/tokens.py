"""How the gateway verifies access tokens, and where it learns the keys."""

from envoy.extension import Config, extension
from envoy.names import JWT
from envoy.target import Address, Target, socket_address
from services.common.protobuf.contract import SERVICES, methods
from services.common.rpc.tokens import CLOCK_SKEW_SECONDS, ISSUER, LONGEST_TOKEN_SECONDS, PEOPLE_AUDIENCE

METADATA = "token"
"""Where the claims of a verified token are found by what comes after: the access log."""

_KEYS = "keys"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - says what to do about it, binds nothing


def jwt_filter() -> Config:
    """Returns the filter that asks for a person's token on every route that does not say otherwise."""
    return extension(
        JWT,
        "filters.http.jwt_authn.v3.JwtAuthentication",
        providers={
            "people": {
                "issuer": ISSUER,
                "audiences": [PEOPLE_AUDIENCE],
                "require_expiration": True,
                "clock_skew_seconds": CLOCK_SKEW_SECONDS,
                # From now until `exp`: the service that gets the call compares `exp` with `iat`.
                "max_lifetime": f"{LONGEST_TOKEN_SECONDS + CLOCK_SKEW_SECONDS}s",
                "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
                "forward": True,  # each service verifies it again
                "payload_in_metadata": METADATA,
                # Keeps a verdict until the token expires, also if its key is revoked: the service refuses it then.
                # Without the cache a GET costs the gateway 27% more.
                "jwt_cache_config": {"jwt_cache_size": 1000},
                "remote_jwks": _remote_jwks(),
            }
        },
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "people"}}],
    )


def keys_cluster(target: Target) -> Config:
    """Returns where auth's keys are fetched: at the gateway's own door, which turns the GET into GetJwks.

    Auth speaks only gRPC, and an internal listener is out of reach of the thread that fetches the keys ahead.
    """
    door = Address(_EVERYWHERE.get(target.listen.host, target.listen.host), target.listen.port)
    endpoint = {"endpoint": {"address": socket_address(door)}}
    return {
        "name": _KEYS,
        "type": "STATIC",
        "load_assignment": {"cluster_name": _KEYS, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _remote_jwks() -> Config:
    """Returns how the keys are fetched: ahead of need, every 10 s at least. They stay while auth does not answer."""
    path = next(method.http[0].path for method in methods(SERVICES["auth"]) if method.name == "GetJwks")
    return {
        "http_uri": {"uri": f"http://{_KEYS}{path}", "cluster": _KEYS, "timeout": "2s"},
        "cache_duration": "10s",
        "async_fetch": {"fast_listener": True, "failed_refetch_duration": "0.5s"},
    }
