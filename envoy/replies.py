"""Errors that the gateway itself returns, in the format of the services' errors, for gRPC and REST."""

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
"""Default response headers."""
REST_VERBS = "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
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


_ORIGINAL_PATH = "'x-envoy-original-path' in request.headers"
"""True after transcoding of a REST call. The request is then gRPC, and this header contains its REST path."""
_GRPC = (
    "'content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc')"
    f" && !({_ORIGINAL_PATH})"
)
"""True for gRPC and gRPC-Web calls."""


def _has_details(prefix: str) -> str:
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
        when=_has_details("jwt_authn_access_denied{Jwt_is_missing}"),
        http=401,
        code=code_pb2.UNAUTHENTICATED,
        reason=TokenMissing.reason,
        message=TokenMissing.message,
    ),
    # The gateway has no keys yet, because auth has not responded since the gateway started.
    _unavailable(when=_has_details("jwt_authn_access_denied{Jwks_remote_fetch_is_failed}")),
    Reply(
        when=f"{_has_details('jwt_authn_access_denied')} || response.code == 401",
        http=401,
        code=code_pb2.UNAUTHENTICATED,
        reason=TokenInvalid.reason,
        message=TokenInvalid.message,
    ),
    Reply(
        when=f"{_has_details('early_grpc_json_transcode_failure{INVALID_ARGUMENT}')} && !({_ORIGINAL_PATH})"
        f" || response.code == {PARAMETER_UNKNOWN}",
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="QUERY_PARAMETER_UNKNOWN",
        message="The query contains an unknown parameter.",
    ),
    Reply(
        when=f"{_has_details('early_grpc_json_transcode_failure{INVALID_ARGUMENT}')}"
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
        when=f"{_has_details('grpc_json_transcode_failure')} && response.code == 400",
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
        when=f"{_has_details('query_missing_content_type')} || request.method == 'CONNECT'",
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
        when=_has_details("max_duration_timeout"),
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
        when=f"response.code == 431 || {_has_details(f'rbac_access_denied_matched_policy[{TOO_LARGE}]')}",
        http=431,
        code=code_pb2.RESOURCE_EXHAUSTED,
        reason="HEADERS_TOO_LARGE",
        message=f"The request headers exceed the limit of {MAX_HEADER_BYTES // 1024} KiB or {MAX_HEADERS} headers.",
    ),
    Reply(
        when=_has_details(f"rbac_access_denied_matched_policy[{NO_MESSAGE}]"),
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="REQUEST_INVALID",
        message="The gRPC call has no message.",
    ),
    Reply(
        when=_has_details("http1.invalid_transfer_encoding"),
        http=400,
        code=code_pb2.INVALID_ARGUMENT,
        reason="REQUEST_INVALID",
        message="The transfer encoding is not supported. Use chunked.",
    ),
    _unavailable(when=f"{_has_details('overload')} || response.code in [502, 503, 504]"),
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


_CONSOLE_MISSING = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="3">
<title>PulseTrack</title>
<h1>The console has not been built yet</h1>
<p>The first <code>make up</code> builds it in the background. To build it now, run <code>make console</code>.</p>
<p>This page reloads itself. The <a href="/docs/">API reference</a> is available.</p>
"""


def local_reply_config() -> Config:
    """Returns the local reply mappers: gRPC status and details for gRPC calls, JSON for all other requests."""
    return {
        "mappers": [
            _unchanged("lua_response"),
            _console_mapper(),
            *map(_grpc_mapper, REPLIES),
            *map(_rest_mapper, REPLIES),
            {**_condition("response.code == 200"), "body_format_override": _json({"status": "ok"})},
        ]
    }


def _unchanged(details: str) -> Config:
    """Returns the mapper of responses whose JSON body a filter has written."""
    body = {"content_type": "application/json", "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}}
    return {**_condition(_has_details(details)), "body_format_override": body, "headers_to_add": _headers(HEADERS)}


def _console_mapper() -> Config:
    """Returns the mapper of files that do not exist: those of a console that has not been built yet."""
    page = {"content_type": "text/html; charset=utf-8", "text_format_source": {"inline_string": _CONSOLE_MISSING}}
    return {
        **_condition(_has_details("file_server_stat_error")),
        "status_code": 503,
        "body_format_override": page,
        "headers_to_add": _headers({"retry-after": "3"}),
    }


def _grpc_mapper(reply: Reply) -> Config:
    status = _status(reply, reply.code if reply.grpc_code is None else reply.grpc_code)
    details = base64.b64encode(status.SerializeToString()).decode().rstrip("=")
    trailers = {"grpc-status": str(status.code), "grpc-message": reply.message, "grpc-status-details-bin": details}
    trailers |= _retry_header(reply)
    return {
        **_condition(f"{_GRPC} && ({reply.when})"),
        "status_code": 200,
        "body_format_override": {"text_format_source": {"inline_string": ""}},
        "headers_to_add": _headers(trailers),
    }


def _rest_mapper(reply: Reply) -> Config:
    allow = {"allow": reply.allow} if reply.allow else {}
    return {
        **_condition(reply.when),
        "status_code": reply.http,
        "body_format_override": _json(_to_json(_status(reply, reply.code))),
        "headers_to_add": _headers({**HEADERS, **_retry_header(reply), **allow}),
    }


def _to_json(status: status_pb2.Status) -> Config:
    """Returns a status as the transcoder prints it: with empty fields."""
    return MessageToDict(status, always_print_fields_with_no_presence=True)


def _status(reply: Reply, code: int) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=reply.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reply.reason, domain=DOMAIN))
    if reply.retry_after is not None:
        status.details.add().Pack(retry_info(reply.retry_after))
    return status


def _retry_header(reply: Reply) -> dict[str, str]:
    return {} if reply.retry_after is None else {"retry-after": str(reply.retry_after)}


def _condition(expression: str) -> Config:
    name, message = "envoy.access_loggers.extension_filters.cel", "access_loggers.filters.cel.v3.ExpressionFilter"
    return {"filter": {"extension_filter": extension(name, message, expression=expression)}}


def _json(body: Config) -> Config:
    text = json.dumps(body, separators=(",", ":")).replace("%", "%%")  # Envoy reads a single % as a format operator
    return {"content_type": "application/json", "text_format_source": {"inline_string": text}}


def _headers(headers: dict[str, str]) -> list[Config]:
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in headers.items()
    ]
