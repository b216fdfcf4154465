"""The public listener: one port for gRPC, gRPC-Web and REST."""

from envoy.body_limits import MAX_BODY, MAX_RESPONSE, public_body_filter
from envoy.clusters import health_checked_clusters
from envoy.conditions import condition_filter, etag_filters
from envoy.extension import Config, extension
from envoy.fhir import fhir_filter
from envoy.headers import allow_list, message_present, size_limit
from envoy.json_bodies import json_body_filter
from envoy.local_replies import local_reply_config
from envoy.names import BUFFER, COMPRESSOR, CORS, JWT, TRANSCODER
from envoy.oauth import oauth_filter
from envoy.overload import reset_limits
from envoy.queries import query_filter
from envoy.rate_limits import rate_limit_filter
from envoy.rest_requests import custom_method_filter, head_filter, json_lines_filter
from envoy.routes import route_config
from envoy.site import site_filters
from envoy.standard import health_filter
from envoy.target import Target, socket_address
from envoy.tokens import METADATA, jwt_filter
from envoy.tracing import tracing
from services.common.protobuf.contract import FHIR_CONTENT, SERVICES


def gateway_listener(target: Target) -> Config:
    """Returns the public listener."""
    return {
        "name": "gateway",
        "address": socket_address(target.listen),
        # Envoy reads up to this many bytes of a request that it has rejected, for as long as the connection lingers.
        "per_connection_buffer_limit_bytes": 128 * 1024,
        "filter_chains": [{"filters": [_connection_manager(target)]}],
    }


def _connection_manager(target: Target) -> Config:
    return extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        codec_type="AUTO",
        route_config=route_config(target),
        http_filters=_filters(target),
        local_reply_config=local_reply_config(),
        access_log=[_access_log(target)],
        **tracing(target),
        **_client_identity(target),
        **_PATHS,
        **_LIMITS,
    )


def _client_identity(target: Target) -> Config:
    """Returns the options that derive the client address from the connection and start a new trace for each request.

    Envoy trusts certain request headers, so these are removed first. One regular expression matches them all, because
    each additional mutation costs CPU on every request. X-Forwarded-For is retained behind a trusted proxy.
    """
    forwarded = "x-forwarded-(host|port|proto|client-cert).*" if target.trusted_proxies else "x-forwarded-.*"
    untrusted = f"x-envoy-.*|{forwarded}|traceparent|tracestate"
    return {
        "server_name": "pulsetrack",
        "use_remote_address": True,
        "xff_num_trusted_hops": target.trusted_proxies,
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "early_header_mutation_extensions": [
            extension(
                "envoy.http.early_header_mutation.header_mutation",
                "http.early_header_mutation.header_mutation.v3.HeaderMutation",
                mutations=[{"remove_on_match": {"key_matcher": {"safe_regex": {"regex": untrusted}}}}],
            )
        ],
    }


_PATHS = {
    "normalize_path": True,
    "merge_slashes": True,
    "path_with_escaped_slashes_action": "REJECT_REQUEST",
}
"""Path normalization. Routing and the services see the same path."""

# Envoy resets an HTTP/2 stream over these header limits. The limits in headers.py are lower and return an error.
_LIMITS = {
    "common_http_protocol_options": {
        "idle_timeout": "300s",
        "max_headers_count": 1000,
        "headers_with_underscores_action": "DROP_HEADER",  # valid in gRPC metadata, but no service reads one
    },
    "http_protocol_options": {
        "allow_custom_methods": True,  # the routes reject them with a standard error
        "accept_http_10": True,  # some proxies and probes still send it
        "default_host_for_http_10": "pulsetrack",
        "ignore_http_11_upgrade": [{"safe_regex": {"regex": ".*"}}],  # as RFC 9110 permits: no upgrade is supported
    },
    "http2_protocol_options": {
        "max_concurrent_streams": 256,
        "initial_stream_window_size": 256 * 1024,
        "initial_connection_window_size": 1024 * 1024,
        "connection_keepalive": {"interval": "60s", "timeout": "10s"},
        **reset_limits(),
    },
    "max_request_headers_kb": 96,
    "request_headers_timeout": "10s",
    "request_timeout": "60s",
    "stream_idle_timeout": "30s",
}


def _filters(target: Target) -> list[Config]:
    """Returns the HTTP filters in the order of requests. Responses pass them in reverse order."""
    return [
        _readiness(),
        size_limit(),
        extension(CORS, "filters.http.cors.v3.Cors"),  # before authentication: a preflight carries no token
        head_filter(),
        _compressor(),  # compresses the JSON that the transcoder writes
        extension("envoy.filters.http.grpc_web", "filters.http.grpc_web.v3.GrpcWeb"),
        *([rate_limit_filter(target)] if target.rate_limits else []),  # before the token is verified
        *site_filters(),
        public_body_filter(),  # before a filter buffers the body
        jwt_filter(target),
        query_filter(),
        extension(BUFFER, "filters.http.buffer.v3.Buffer", max_request_bytes=MAX_BODY),  # until the body is complete
        message_present(),
        health_filter(),  # needs the complete message
        custom_method_filter(),
        json_lines_filter(),
        condition_filter(),
        fhir_filter(),
        oauth_filter(),  # before the check of JSON bodies
        json_body_filter(),  # before the transcoder, which ignores unknown fields
        *etag_filters(),
        _transcoder(target),
        allow_list(),  # last, to apply to headers that other filters add
        extension("envoy.filters.http.router", "filters.http.router.v3.Router", suppress_envoy_headers=True),
    ]


def _readiness() -> Config:
    return extension(
        "envoy.filters.http.health_check",
        "filters.http.health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"safe_regex": {"regex": r"/readyz(\?.*)?"}}}],
        cluster_min_healthy_percentages={name: {"value": 1.0} for name in health_checked_clusters()},
    )


def _compressor() -> Config:
    return extension(
        COMPRESSOR,
        "filters.http.compressor.v3.Compressor",
        response_direction_config={
            "common_config": {
                "min_content_length": 1024,
                "content_type_matcher": [
                    {"exact": "application/json"},
                    {"exact": FHIR_CONTENT},
                    *({"prefix": kind} for kind in ("text/css", "text/html", "text/javascript")),
                ],
            }
        },
        compressor_library=extension("gzip", "compression.gzip.compressor.v3.Gzip", compression_level="BEST_SPEED"),
    )


def _transcoder(target: Target) -> Config:
    return extension(
        TRANSCODER,
        "filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=str(target.descriptors),
        services=[*SERVICES.values()],
        match_incoming_request_route=True,
        convert_grpc_status=True,
        request_validation_options={
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        print_options={"stream_newline_delimited": True, "always_print_primitive_fields": True},
        query_param_unescape_plus=True,  # forms and most clients encode a space as a plus
        max_request_body_size=MAX_BODY,
        max_response_body_size=MAX_RESPONSE,
    )


_LOG_FORMAT = {
    "time": "%START_TIME%",
    "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
    "user_id": f"%DYNAMIC_METADATA({JWT}:{METADATA}:sub)%",
    "service": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
    "remote_address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
}
"""Fields of an access log entry. Query strings and headers are omitted because they may contain personal data."""


def _access_log(target: Target) -> Config:
    return {**_access_logger(target), "filter": {"not_health_check_filter": {}}}


def _access_logger(target: Target) -> Config:
    log_format = {"json_format": _LOG_FORMAT}
    if target.access_log is None:
        return extension(
            "envoy.access_loggers.stdout",
            "access_loggers.stream.v3.StdoutAccessLog",
            log_format=log_format,
        )
    return extension(
        "envoy.access_loggers.file",
        "access_loggers.file.v3.FileAccessLog",
        path=str(target.access_log),
        log_format=log_format,
    )
