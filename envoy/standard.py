"""Standard gRPC services at the gateway: health and reflection, without authentication and with their own limits."""

from collections.abc import Iterator
from pathlib import Path

from envoy.extension import Config, extension, to_any
from envoy.headers import GRPC_CALL
from envoy.names import BUFFER, HEALTH_CHECK, JWT, MESSAGE, PUBLIC_BODY
from envoy.rate_limits import REFLECTION_BUCKET, rate_limits_of
from envoy.rest_requests import enable_lua
from envoy.target import Target
from services.common.protobuf.contract import SERVICES

HEALTH = "grpc.health.v1.Health"
_CHECK_PATH = f"/{HEALTH}/Check"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
REFLECTION_CLUSTER = "reflection"
DEFAULT_SERVICE = "patient"
"""Service for reflection, which covers all services, and for health checks that name an unknown service."""

_CHECK_SECONDS = 5
_REFLECTION_SECONDS = 30
_REFLECTION_IDLE_SECONDS = 10

_HEALTH_CLUSTER = "x-pulsetrack-health"
_SCRIPT = Path(__file__).with_name("health_checks.lua")


def health_cluster(service: str) -> str:
    """Returns the name of the cluster for health checks of a service."""
    return f"{service}-health"


def health_filter() -> Config:
    """Returns the filter that routes a health check to the service in its request. Only the Check route enables it.

    A check that names no service asks for all services. It is routed to one that is not serving, if there is one.
    """
    clusters = ", ".join(f'["{name}"] = "{health_cluster(service)}"' for service, name in SERVICES.items())
    default = health_cluster(DEFAULT_SERVICE)
    values = f'{{{clusters}}}, "{default}", "{_HEALTH_CLUSTER}", "{_CHECK_PATH}"'
    script = f"local CLUSTERS, DEFAULT, ROUTING, CHECK = {values}\n{_SCRIPT.read_text(encoding='utf-8')}"
    lua = extension(HEALTH_CHECK, "filters.http.lua.v3.Lua", default_source_code={"inline_string": script})
    return {**lua, "disabled": True}


def standard_routes(target: Target) -> Iterator[Config]:
    """Yields the routes of health checks and reflection.

    Health.Watch has no route: anonymous clients could open many idle streams at no cost. Probes use Check.
    """
    common = {
        "request_headers_to_remove": [_HEALTH_CLUSTER],
        "typed_per_filter_config": {
            JWT: _disabled(),
            **enable_lua(HEALTH_CHECK),
        },
    }
    for cluster in map(health_cluster, SERVICES):
        selected = {"name": _HEALTH_CLUSTER, "string_match": {"exact": cluster}}
        yield {
            "match": {"path": _CHECK_PATH, "headers": [selected, *GRPC_CALL]},
            "route": _route_to(cluster, _CHECK_SECONDS),
            **common,
        }
    # Every check matches this route first. The filter reads the request and selects one of the routes above.
    default = _route_to(health_cluster(DEFAULT_SERVICE), _CHECK_SECONDS)
    yield {"match": {"path": _CHECK_PATH, "headers": GRPC_CALL}, "route": default, **common}
    for name in REFLECTION if target.reflection else ():
        yield {
            "match": {"path": f"/{name}/ServerReflectionInfo", "headers": GRPC_CALL},
            "route": {
                **_route_to(REFLECTION_CLUSTER, _REFLECTION_SECONDS),
                "idle_timeout": f"{_REFLECTION_IDLE_SECONDS}s",
                **rate_limits_of(REFLECTION_BUCKET),
            },
            "typed_per_filter_config": {name: _disabled() for name in (JWT, PUBLIC_BODY, BUFFER, MESSAGE)},
        }


def _route_to(cluster: str, seconds: int) -> Config:
    return {"cluster": cluster, "max_stream_duration": {"max_stream_duration": f"{seconds}s"}}


def _disabled() -> Config:
    return to_any("envoy.config.route.v3.FilterConfig", disabled=True)
