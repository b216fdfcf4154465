"""What the gateway says when it refuses or fails by itself: the contract's errors, at both doors."""

import base64
import json
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2, error_details_pb2, status_pb2

from envoy.extension import Config, extension
from envoy.headers import MAX_HEADERS, NO_MESSAGE, TOO_LARGE
from services.common.errors import (
    DOMAIN,
    CallTooSlow,
    DependencyUnavailable,
    Internal,
    RateLimited,
    TokenInvalid,
    TokenMissing,
    retry_info,
)
from services.common.protobuf.contract import MAX_HEADER_BYTES

HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""Headers of every answer that does not have them already."""
REST_VERBS = "GET, POST, PATCH, DELETE, OPTIONS"
"""The HTTP methods that the REST door knows."""


@dataclass(frozen=True)
class Reply:
    """An error that the gateway makes, and when."""

    when: str
    """A CEL condition on what Envoy was about to answer."""
    http: int
    code: int
    reason: str
    message: str
    native_code: int | None = None
    """The code at the native door, where gRPC has its own word for it."""
    retry_after: int | None = None
    """After how many seconds the same call may succeed."""
    allow: str | None = None
    """Which HTTP methods may be tried instead, where no route says so."""


_ORIGINAL_PATH = "'x-envoy-original-path' in request.headers"
"""True once a REST call has been transcoded: it then looks like gRPC, but keeps its path here."""
_NATIVE = (
    "'content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc')"
    f" && !({_ORIGINAL_PATH})"
)
"""True of gRPC and gRPC-Web calls."""


def _details(prefix: str) -> str:
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
        when=_details("jwt_authn_access_denied{Jwt_is_missing}"),
        http=401,
        code=code_pb2.UNAUTHENTICATED,
        reason=TokenMissing.reason,
        message=TokenMissing.message,
    ),
    # The keys are not there yet: auth has not answered since the gateway started.
    _unavailable(when=_details("jwt_authn_access_denied{Jwks_remote_fetch_is_failed}")),
    Reply(
        when=f"{_details('jwt_authn_access_denied')} || response.code == 401",
        http=401,
        code=code_pb2.UNAUTHENTICATED,
        reason=TokenInvalid.reason,
        message=TokenInvalid.message,
    ),
    Reply(
        when=f"{_details('early_grpc_json_transcode_failure{INVALID_ARGUMENT}')} && !({_ORIGINAL_PATH})",
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="QUERY_PARAMETER_UNKNOWN",
        message="The query has a parameter that this call does not know.",
    ),
    Reply(
        when=_details("early_grpc_json_transcode_failure{INVALID_ARGUMENT}"),
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="QUERY_PARAMETER_INVALID",
        message="A parameter in the path or query has a value that does not fit its type.",
    ),
    Reply(
        when=f"{_details('grpc_json_transcode_failure')} && response.code == 400",
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="JSON_INVALID",
        message="The body is not JSON that fits this call.",
    ),
    Reply(
        when="response.code == 404",
        http=404,
        code=code_pb2.NOT_FOUND,
        reason="ROUTE_NOT_FOUND",
        message="There is nothing at this path.",
        native_code=code_pb2.UNIMPLEMENTED,
    ),
    Reply(
        when="response.code == 405",
        http=405,
        code=code_pb2.UNIMPLEMENTED,
        reason="METHOD_NOT_ALLOWED",
        message="This path does not know this HTTP method.",
    ),
    # Envoy refuses the methods QUERY and CONNECT before it looks at the path.
    Reply(
        when=f"{_details('query_missing_content_type')} || request.method == 'CONNECT'",
        http=405,
        code=code_pb2.UNIMPLEMENTED,
        reason="METHOD_NOT_ALLOWED",
        message="This path does not know this HTTP method.",
        allow=REST_VERBS,
    ),
    Reply(
        when="response.code == 408",
        http=408,
        code=code_pb2.DEADLINE_EXCEEDED,
        reason="REQUEST_TOO_SLOW",
        message="The request did not arrive in time.",
    ),
    Reply(
        when=_details("max_duration_timeout"),
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
        message="The body is longer than this call takes: 4 MiB, or 16 KiB if it needs no token.",
    ),
    Reply(
        when="response.code == 415",
        http=415,
        code=code_pb2.INVALID_ARGUMENT,
        reason="CONTENT_TYPE_UNSUPPORTED",
        message="This path does not accept this content type.",
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
        when=f"response.code == 431 || {_details(f'rbac_access_denied_matched_policy[{TOO_LARGE}]')}",
        http=431,
        code=code_pb2.RESOURCE_EXHAUSTED,
        reason="HEADERS_TOO_LARGE",
        message=f"The headers are longer than {MAX_HEADER_BYTES // 1024} KiB or more than {MAX_HEADERS}.",
    ),
    Reply(
        when=_details(f"rbac_access_denied_matched_policy[{NO_MESSAGE}]"),
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="REQUEST_INVALID",
        message="A gRPC call needs a message.",
    ),
    Reply(
        when=_details("http1.invalid_transfer_encoding"),
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="REQUEST_INVALID",
        message="The transfer encoding must be chunked.",
    ),
    _unavailable(when=f"{_details('overload')} || response.code in [502, 503, 504]"),
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
        message="This is not an HTTP request that PulseTrack understands.",
    ),
)
"""In the order in which they are tried."""


def local_reply_config() -> Config:
    """Returns what Envoy says by itself: to gRPC calls in the status and its details, to all others in JSON."""
    return {
        "mappers": [
            *map(_native, REPLIES),
            *map(_rest, REPLIES),
            {**_when("response.code == 200"), "body_format_override": _json({"status": "ok"})},
        ]
    }


def _native(reply: Reply) -> Config:
    status = _status(reply, reply.code if reply.native_code is None else reply.native_code)
    details = base64.b64encode(status.SerializeToString()).decode().rstrip("=")
    trailers = {"grpc-status": str(status.code), "grpc-message": reply.message, "grpc-status-details-bin": details}
    trailers |= _retry(reply)
    return {
        **_when(f"{_NATIVE} && ({reply.when})"),
        "status_code": 200,
        "body_format_override": {"text_format_source": {"inline_string": ""}},
        "headers_to_add": _headers(trailers),
    }


def _rest(reply: Reply) -> Config:
    allow = {"allow": reply.allow} if reply.allow else {}
    return {
        **_when(reply.when),
        "status_code": reply.http,
        "body_format_override": _json(MessageToDict(_status(reply, reply.code))),
        "headers_to_add": _headers({**HEADERS, **_retry(reply), **allow}),
    }


def _status(reply: Reply, code: int) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=reply.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reply.reason, domain=DOMAIN))
    if reply.retry_after is not None:
        status.details.add().Pack(retry_info(reply.retry_after))
    return status


def _retry(reply: Reply) -> dict[str, str]:
    return {} if reply.retry_after is None else {"retry-after": str(reply.retry_after)}


def _when(condition: str) -> Config:
    return {
        "filter": {
            "extension_filter": extension(
                "envoy.access_loggers.extension_filters.cel",
                "access_loggers.filters.cel.v3.ExpressionFilter",
                expression=condition,
            )
        }
    }


def _json(body: Config) -> Config:
    text = json.dumps(body, separators=(",", ":")).replace("%", "%%")  # a single % begins one of Envoy's variables
    return {"content_type": "application/json", "text_format_source": {"inline_string": text}}


def _headers(headers: dict[str, str]) -> list[Config]:
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in headers.items()
    ]
