"""Clusters of the services: HTTP/2, active health checks, and retries of requests that cannot have been processed.

Unary calls, streams, health checks and reflection use separate clusters, so exhausting one does not affect the others.
"""

from collections.abc import Iterator

from envoy.extension import Config, extension, to_any
from envoy.standard import DEFAULT_SERVICE, REFLECTION_CLUSTER, health_cluster
from envoy.target import Address, Target, socket_address
from services.common.protobuf.contract import SERVICES, methods

_RETRY = {
    # Envoy treats no method as idempotent: it retries only requests that no service can have started to process.
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": 2,
    "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": to_any("retry.host.previous_hosts.v3.PreviousHostsPredicate"),
        }
    ],
    "host_selection_retry_max_attempts": 3,
}


def streams_cluster(service: str) -> str:
    """Returns the name of the cluster for a service's streams. The cluster for unary calls has the service's name."""
    return f"{service}-streams"


def health_checked_clusters() -> tuple[str, ...]:
    """Returns the names of the clusters with active health checks: those for unary calls and streams."""
    return (*SERVICES, *(streams_cluster(service) for service, name in SERVICES.items() if _has_streams(name)))


def service_clusters(target: Target) -> Iterator[Config]:
    """Yields the clusters of all services. Raises KeyError if a service has no upstreams."""
    capacity = target.capacity
    for service, full_name in SERVICES.items():
        yield _with_health_checks(_cluster(target, service, service, capacity.calls))
        if _has_streams(full_name):
            yield _with_health_checks(_cluster(target, service, streams_cluster(service), capacity.streams))
        yield _cluster(target, service, health_cluster(service), capacity.health)
    yield _cluster(target, DEFAULT_SERVICE, REFLECTION_CLUSTER, capacity.reflection)


def _has_streams(full_name: str) -> bool:
    return any(method.streams for method in methods(full_name))


def _cluster(target: Target, service: str, name: str, max_requests: int) -> Config:
    return {
        "name": name,
        **({"type": "STATIC"} if target.discovery == "static" else {"cluster_type": _DNS}),
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [_endpoint(address) for address in target.upstreams[service]]}],
        },
        **({"transport_socket": target.tls.socket(service)} if target.tls else {}),
        "common_lb_config": _LOAD_BALANCING,
        "circuit_breakers": {"thresholds": [{**_LIMITS, "max_requests": max_requests}]},
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 30, "keepalive_interval": 5}
        },
        "typed_extension_protocol_options": http2(retry_policy=_RETRY),
    }


def _with_health_checks(cluster: Config) -> Config:
    return {**cluster, "health_checks": [_HEALTH_CHECK]}


def http2(**options: object) -> Config:
    """Returns the protocol options of a cluster that uses HTTP/2, which gRPC requires, merged with other options."""
    name = "upstreams.http.v3.HttpProtocolOptions"
    return {f"envoy.extensions.{name}": to_any(name, explicit_http_config={"http2_protocol_options": {}}, **options)}


_HEALTH_CHECK = {
    "grpc_health_check": {},
    "timeout": "1s",
    "interval": "1s",
    "no_traffic_interval": "1s",
    "unhealthy_threshold": 2,
    # Failed endpoints are checked more often, to return them to rotation soon after they recover.
    "unhealthy_interval": "0.25s",
    "healthy_threshold": 1,
}
"""Health check of readiness. Only ready endpoints receive traffic."""

_LOAD_BALANCING = {
    "healthy_panic_threshold": {"value": 1},
    "update_merge_window": "0s",  # the default of 1s delays the second of two health changes
}
"""Unready endpoints receive traffic only when no endpoint is healthy. An endpoint still serves while it shuts down."""

_DNS = extension("envoy.clusters.dns", "clusters.dns.v3.DnsCluster", dns_refresh_rate="1s")
"""Discovery by DNS. Each address of a name is an endpoint."""

_LIMITS = {
    "max_connections": 1024,
    "max_pending_requests": 1024,
    "retry_budget": {"budget_percent": {"value": 20.0}, "min_retry_concurrency": 16},
}


def _endpoint(address: Address) -> Config:
    return {"endpoint": {"address": socket_address(address)}}
