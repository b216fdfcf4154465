"""Health and reflection at the gateway: open without a token, and bounded so that other calls do not suffer."""

from collections.abc import Iterator

from envoy.extension import Config, extension, typed
from envoy.headers import NATIVE_CALL
from envoy.limits import REFLECTION_BUCKET, rate_limits_of
from envoy.names import BUFFER, JWT, MESSAGE, PUBLIC_BODY
from envoy.target import Target
from services.common.protobuf.contract import SERVICES

HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
REFLECTION_CLUSTER = "reflection"
ANSWERS_FOR_ALL = "patient"
"""The service asked for reflection, which knows the descriptors of all, and for the health of no named service."""

_CHECK_SECONDS = 5
_REFLECTION_SECONDS = 30
_REFLECTION_IDLE_SECONDS = 10

_LUA = "envoy.filters.http.lua"
_HEALTH_CLUSTER = "x-pulsetrack-health"
_PICK_SERVICE = """
local clusters = {%s}
function envoy_on_request(handle)
  local body = handle:body()
  local message = body and body:getBytes(0, body:length()) or ""
  -- An uncompressed gRPC frame with field 1 of HealthCheckRequest: 5 bytes of frame, the tag, the length, the name.
  local name = message:byte(1) == 0 and message:byte(6) == 10 and message:sub(8, 7 + message:byte(7)) or ""
  handle:headers():replace("%s", clusters[name] or "%s")
  handle:clearRouteCache()
end
"""


def health_cluster(service: str) -> str:
    """Returns the name of the cluster by which a service is asked for its health."""
    return f"{service}-health"


def health_filter() -> Config:
    """Returns the filter that sends a health check to the service that it names. Only the route of Check has it."""
    clusters = ", ".join(f'["{name}"] = "{health_cluster(service)}"' for service, name in SERVICES.items())
    script = _PICK_SERVICE % (clusters, _HEALTH_CLUSTER, health_cluster(ANSWERS_FOR_ALL))
    lua = extension(_LUA, "filters.http.lua.v3.Lua", default_source_code={"inline_string": script})
    return {**lua, "disabled": True}


def standard_routes(target: Target) -> Iterator[Config]:
    """Yields the routes of health checks and reflection.

    Watch of health has none: an idle stream costs an anonymous client nothing, and a probe calls Check.
    """
    path = f"/{HEALTH}/Check"
    common = {
        "request_headers_to_remove": [_HEALTH_CLUSTER],
        "typed_per_filter_config": {
            JWT: _disabled(),
            _LUA: typed("envoy.config.route.v3.FilterConfig", config=typed("filters.http.lua.v3.LuaPerRoute")),
        },
    }
    for cluster in map(health_cluster, SERVICES):
        chosen = {"name": _HEALTH_CLUSTER, "string_match": {"exact": cluster}}
        yield {
            "match": {"path": path, "headers": [chosen, *NATIVE_CALL]},
            "route": _bounded(cluster, _CHECK_SECONDS),
            **common,
        }
    # Matched first, and again by name after the filter has read the request.
    default = _bounded(health_cluster(ANSWERS_FOR_ALL), _CHECK_SECONDS)
    yield {"match": {"path": path, "headers": NATIVE_CALL}, "route": default, **common}
    for name in REFLECTION if target.reflection else ():
        yield {
            "match": {"path": f"/{name}/ServerReflectionInfo", "headers": NATIVE_CALL},
            "route": {
                **_bounded(REFLECTION_CLUSTER, _REFLECTION_SECONDS),
                "idle_timeout": f"{_REFLECTION_IDLE_SECONDS}s",
                **rate_limits_of(REFLECTION_BUCKET),
            },
            "typed_per_filter_config": {name: _disabled() for name in (JWT, PUBLIC_BODY, BUFFER, MESSAGE)},
        }


def _bounded(cluster: str, seconds: int) -> Config:
    return {"cluster": cluster, "max_stream_duration": {"max_stream_duration": f"{seconds}s"}}


def _disabled() -> Config:
    return typed("envoy.config.route.v3.FilterConfig", disabled=True)
