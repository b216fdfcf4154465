"""Tracing at the gateway, which starts each trace and makes the sampling decision for the services."""

from envoy.clusters import http2
from envoy.extension import Config, extension
from envoy.target import Target, socket_address

_COLLECTOR_CLUSTER = "otlp"


def tracing(target: Target) -> Config:
    """Returns the tracing options of the connection manager, empty if the target has no OTLP collector."""
    if target.otlp is None:
        return {}
    provider = extension(
        "envoy.tracers.opentelemetry",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        service_name="gateway",
        grpc_service={"envoy_grpc": {"cluster_name": _COLLECTOR_CLUSTER}, "timeout": "1s"},
    )
    return {
        "tracing": {
            "provider": provider,
            "random_sampling": {"value": target.trace_percent},
            "operation": "%ROUTE_NAME%",
            "max_path_tag_length": 0,  # a path contains ids, and its query may contain a name
        }
    }


def collector_clusters(target: Target) -> list[Config]:
    """Returns the cluster of the OTLP collector, or an empty list if the target has none."""
    if target.otlp is None:
        return []
    endpoint = {"endpoint": {"address": socket_address(target.otlp)}}
    return [
        {
            "name": _COLLECTOR_CLUSTER,
            "type": "STRICT_DNS",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": _COLLECTOR_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
            "typed_extension_protocol_options": http2(),
        }
    ]
