"""The gateway's spans, with which traces begin: it decides which calls are sampled, and everybody behind it follows."""

from envoy.clusters import http2
from envoy.extension import Config, extension
from envoy.target import Target, socket_address

_RECEIVER = "otlp"


def tracing(target: Target) -> Config:
    """Returns what makes spans of calls, of a target that has somewhere to send them to."""
    if target.otlp is None:
        return {}
    provider = extension(
        "envoy.tracers.opentelemetry",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        service_name="gateway",
        grpc_service={"envoy_grpc": {"cluster_name": _RECEIVER}, "timeout": "1s"},
    )
    return {
        "tracing": {
            "provider": provider,
            "random_sampling": {"value": target.trace_percent},
            "operation": "%ROUTE_NAME%",
            "max_path_tag_length": 0,  # a path holds ids, and its query may hold a name
        }
    }


def receiver_clusters(target: Target) -> list[Config]:
    """Returns where spans are sent, if anywhere."""
    if target.otlp is None:
        return []
    endpoint = {"endpoint": {"address": socket_address(target.otlp)}}
    return [
        {
            "name": _RECEIVER,
            "type": "STRICT_DNS",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": _RECEIVER, "endpoints": [{"lb_endpoints": [endpoint]}]},
            "typed_extension_protocol_options": http2(),
        }
    ]
