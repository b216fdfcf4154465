"""Errors that the gateway itself returns."""

from dataclasses import dataclass

from google.rpc import code_pb2

from envoy.headers import MAX_HEADERS, NO_MESSAGE, TOO_LARGE
from services.common.errors import (
    CallTooSlow,
    DependencyUnavailable,
    Internal,
    RateLimited,
    TokenInvalid,
    TokenMissing,
)
from services.common.protobuf.contract import MAX_HEADER_BYTES

HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""Default response headers."""
REST_VERBS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""HTTP methods of the REST API."""

PARAMETER_UNKNOWN, PARAMETER_INVALID, CONDITION_INVALID = 421, 422, 423
"""Statuses of direct responses that REPLIES converts to errors with status 400."""


@dataclass(frozen=True)
class Reply:
    """An error that the gateway returns, and its condition."""

    when: str
    """CEL expression over the request and the local reply of Envoy."""
    http: int
    """HTTP status of the REST response."""
    code: int
    """gRPC status code in the REST response body."""
    reason: str
    message: str
    grpc_code: int | None = None
    """gRPC status code of the gRPC response, if it differs from `code`."""
    retry_after: int | None = None
    """Seconds after which the client can retry."""
    allow: str | None = None
    """Value of the `allow` header, for replies that no route sets it on."""


ORIGINAL_PATH = "'x-envoy-original-path' in request.headers"
"""True after transcoding of a REST call. The request is then gRPC, and this header contains its REST path."""


def has_details(prefix: str) -> str:
    """Returns the CEL expression for local replies whose details begin with a prefix."""
    return f"response.code_details.startsWith('{prefix}')"


def _unavailable(when: str) -> Reply:
    return Reply(
        when=when,
        http=503,
        code=code_pb2.UNAVAILABLE,
        reason=DependencyUnavailable.reason,
        message=DependencyUnavailable.message,
        retry_after=DependencyUnavailable.retry_after,
    )


REPLIES = (
    Reply(
        when=has_details("jwt_authn_access_denied{Jwt_is_missing}"),
        http=401,
        code=code_pb2.UNAUTHENTICATED,
        reason=TokenMissing.reason,
        message=TokenMissing.message,
    ),
    # The gateway has no keys yet, because auth has not responded since the gateway started.
    _unavailable(when=has_details("jwt_authn_access_denied{Jwks_remote_fetch_is_failed}")),
    Reply(
        when=f"{has_details('jwt_authn_access_denied')} || response.code == 401",
        http=401,
        code=code_pb2.UNAUTHENTICATED,
        reason=TokenInvalid.reason,
        message=TokenInvalid.message,
    ),
    Reply(
        when=f"{has_details('early_grpc_json_transcode_failure{INVALID_ARGUMENT}')} && !({ORIGINAL_PATH})"
        f" || response.code == {PARAMETER_UNKNOWN}",
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="QUERY_PARAMETER_UNKNOWN",
        message="The query contains an unknown parameter.",
    ),
    Reply(
        when=f"{has_details('early_grpc_json_transcode_failure{INVALID_ARGUMENT}')}"
        f" || response.code == {PARAMETER_INVALID}",
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="QUERY_PARAMETER_INVALID",
        message="A path or query parameter has an invalid value.",
    ),
    Reply(
        when=f"response.code == {CONDITION_INVALID}",
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="REQUEST_INVALID",
        message="If-Match and If-None-Match must be `*` or a list of etags in quotes, as in the ETag header.",
    ),
    Reply(
        when=f"{has_details('grpc_json_transcode_failure')} && response.code == 400",
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="JSON_INVALID",
        message="The request body is not valid JSON for this method.",
    ),
    Reply(
        when="response.code == 404",
        http=404,
        code=code_pb2.NOT_FOUND,
        reason="ROUTE_NOT_FOUND",
        message="No route matches this path.",
        grpc_code=code_pb2.UNIMPLEMENTED,
    ),
    Reply(
        when="response.code == 405",
        http=405,
        code=code_pb2.UNIMPLEMENTED,
        reason="METHOD_NOT_ALLOWED",
        message="The HTTP method is not allowed for this path.",
    ),
    # Envoy rejects the methods QUERY and CONNECT before route selection.
    Reply(
        when=f"{has_details('query_missing_content_type')} || request.method == 'CONNECT'",
        http=405,
        code=code_pb2.UNIMPLEMENTED,
        reason="METHOD_NOT_ALLOWED",
        message="The HTTP method is not allowed for this path.",
        allow=REST_VERBS,
    ),
    Reply(
        when="response.code == 408",
        http=408,
        code=code_pb2.DEADLINE_EXCEEDED,
        reason="REQUEST_TOO_SLOW",
        message="The request was not received in time.",
    ),
    Reply(
        when=has_details("max_duration_timeout"),
        http=504,
        code=code_pb2.DEADLINE_EXCEEDED,
        reason=CallTooSlow.reason,
        message=CallTooSlow.message,
    ),
    Reply(
        when="response.code == 413",
        http=413,
        code=code_pb2.RESOURCE_EXHAUSTED,
        reason="BODY_TOO_LARGE",
        message="The request body exceeds the limit of 4 MiB, or 16 KiB for methods that require no token.",
    ),
    Reply(
        when="response.code == 415",
        http=415,
        code=code_pb2.INVALID_ARGUMENT,
        reason="CONTENT_TYPE_UNSUPPORTED",
        message="The content type is not supported for this path.",
    ),
    Reply(
        when="response.code == 429",
        http=429,
        code=code_pb2.RESOURCE_EXHAUSTED,
        reason=RateLimited.reason,
        message=RateLimited.message,
        retry_after=2,
    ),
    Reply(
        when=f"response.code == 431 || {has_details(f'rbac_access_denied_matched_policy[{TOO_LARGE}]')}",
        http=431,
        code=code_pb2.RESOURCE_EXHAUSTED,
        reason="HEADERS_TOO_LARGE",
        message=f"The request headers exceed the limit of {MAX_HEADER_BYTES // 1024} KiB or {MAX_HEADERS} headers.",
    ),
    Reply(
        when=has_details(f"rbac_access_denied_matched_policy[{NO_MESSAGE}]"),
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="REQUEST_INVALID",
        message="The gRPC call has no message.",
    ),
    Reply(
        when=has_details("http1.invalid_transfer_encoding"),
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="REQUEST_INVALID",
        message="The transfer encoding is not supported. Use chunked.",
    ),
    _unavailable(when=f"{has_details('overload')} || response.code in [502, 503, 504]"),
    Reply(
        when="response.code >= 500",
        http=500,
        code=code_pb2.INTERNAL,
        reason=Internal.reason,
        message=Internal.message,
    ),
    Reply(
        when="response.code >= 400",
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="REQUEST_INVALID",
        message="The HTTP request is invalid.",
    ),
)
"""Errors in order of evaluation. The first whose condition matches is returned."""
