"""CORS: the origins, methods and headers that browsers may use."""

from envoy.extension import Config, to_any
from envoy.replies import REST_VERBS
from envoy.target import Target
from services.common.protobuf.contract import ETAG, IF_MATCH, IF_NONE_MATCH

_ALLOWED_HEADERS = (
    "authorization",
    "content-type",
    "grpc-timeout",
    "idempotency-key",
    IF_MATCH,
    IF_NONE_MATCH,
    "prefer",
    "x-grpc-web",
    "x-user-agent",
)
_EXPOSED_HEADERS = (
    ETAG,
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "location",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
)


def cors_policy(target: Target) -> Config:
    """Returns the CORS policy of the virtual host."""
    return to_any(
        "filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"exact": origin} for origin in target.cors_origins],
        allow_methods=REST_VERBS,
        allow_headers=", ".join(_ALLOWED_HEADERS),
        expose_headers=", ".join(_EXPOSED_HEADERS),
        max_age="600",
        forward_not_matching_preflights=False,
    )
