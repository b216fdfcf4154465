"""The format of the gateway's own responses: that of the services' errors, for gRPC and REST."""

import base64
import json

from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2

from envoy.extension import Config, extension
from envoy.replies import HEADERS, ORIGINAL_PATH, REPLIES, Reply, has_details
from services.common.errors import DOMAIN, retry_info

_GRPC = (
    "'content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc')"
    f" && !({ORIGINAL_PATH})"
)
"""True for gRPC and gRPC-Web calls."""
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
    return {**_condition(has_details(details)), "body_format_override": body, "headers_to_add": _headers(HEADERS)}


def _console_mapper() -> Config:
    """Returns the mapper of files that do not exist: those of a console that has not been built yet."""
    page = {"content_type": "text/html; charset=utf-8", "text_format_source": {"inline_string": _CONSOLE_MISSING}}
    return {
        **_condition(has_details("file_server_stat_error")),
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
