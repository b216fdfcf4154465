"""How the gateway reaches the services: HTTP/2, health-checked, retried only while nothing can have run.

Calls, streams, health checks and reflection have clusters of their own: what fills one leaves the others alone.
"""

from collections.abc import Iterator

from envoy.extension import Config, typed
from envoy.standard import ANSWERS_FOR_ALL, REFLECTION_CLUSTER, health_cluster
from envoy.target import Address, Target, socket_address
from services.common.protobuf.contract import SERVICES, methods

_RETRY = {
    # A call is retried only if the service cannot have begun it: no method is idempotent as far as the gateway knows.
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": 2,
    "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": typed("retry.host.previous_hosts.v3.PreviousHostsPredicate"),
        }
    ],
    "host_selection_retry_max_attempts": 3,
}


def streams_cluster(service: str) -> str:
    """Returns the name of the cluster of a service's streams. That of its other calls has the service's short name."""
    return f"{service}-streams"


def checked_clusters() -> tuple[str, ...]:
    """Returns the names of the clusters whose endpoints are health-checked: those of the contract's methods."""
    return (*SERVICES, *(streams_cluster(service) for service, name in SERVICES.items() if _streams(name)))


def service_clusters(target: Target) -> Iterator[Config]:
    """Yields the clusters of all services. Raises KeyError for a service without upstreams."""
    capacity = target.capacity
    for service, full_name in SERVICES.items():
        yield _checked(_cluster(target, service, service, capacity.calls))
        if _streams(full_name):
            yield _checked(_cluster(target, service, streams_cluster(service), capacity.streams))
        yield _cluster(target, service, health_cluster(service), capacity.health)
    yield _cluster(target, ANSWERS_FOR_ALL, REFLECTION_CLUSTER, capacity.reflection)


def _streams(full_name: str) -> bool:
    return any(method.streams for method in methods(full_name))


def _cluster(target: Target, service: str, name: str, most: int) -> Config:
    by_name = {"type": "STRICT_DNS", "dns_refresh_rate": "1s"}
    return {
        "name": name,
        **({"type": "STATIC"} if target.discovery == "static" else by_name),
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [_endpoint(address) for address in target.upstreams[service]]}],
        },
        "common_lb_config": _READY_FIRST,
        "circuit_breakers": {"thresholds": [{**_LIMITS, "max_requests": most}]},
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 30, "keepalive_interval": 5}
        },
        "typed_extension_protocol_options": http2(retry_policy=_RETRY),
    }


def _checked(cluster: Config) -> Config:
    return {**cluster, "health_checks": [_HEALTH_CHECK]}


def http2(**options: object) -> Config:
    """Returns the options that have a cluster speak HTTP/2, as gRPC wants it, with others of its protocol."""
    name = "upstreams.http.v3.HttpProtocolOptions"
    spoken = typed(name, explicit_http_config={"http2_protocol_options": {}}, **options)
    return {f"envoy.extensions.{name}": spoken}


_HEALTH_CHECK = {
    "grpc_health_check": {},
    "timeout": "1s",
    "interval": "1s",
    "no_traffic_interval": "1s",
    "unhealthy_threshold": 2,
    # A service that is down is asked often, so that it is back in rotation as soon as it is up.
    "unhealthy_interval": "0.25s",
    "healthy_threshold": 1,
}
"""Readiness, and who of several gets calls."""

_READY_FIRST = {
    "healthy_panic_threshold": {"value": 1},
    "update_merge_window": "0s",  # a second health check that fails within a second would wait for the end of it
}
"""Who is not ready is called only if nobody is: it may be about to end, and still take calls."""

_LIMITS = {
    "max_connections": 1024,
    "max_pending_requests": 1024,
    "retry_budget": {"budget_percent": {"value": 20.0}, "min_retry_concurrency": 16},
}


def _endpoint(address: Address) -> Config:
    return {"endpoint": {"address": socket_address(address)}}
