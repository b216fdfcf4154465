"""What the gateway does when its memory or its connections run short: it refuses new work before it fails."""

from envoy.extension import Config, extension, typed
from envoy.headers import REGEX_SIZE
from envoy.target import Target

_HEAP = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
_IDLE_TIMEOUT = typed(
    "envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
    timer_scale_factors=[{"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "2s"}],
)

RESET_BURST = 10_000
RESET_RATE = 1000
"""Streams that a client may reset on one connection: so many at once, and so many each second.

Above the rate limit of calls: a client that opens short watches and cancels them is not cut off, and a flood is.
"""
PREMATURE_RESETS = 5000
"""Calls that a client may give up on one connection before an answer, if they are half of its calls or more."""


def overload_manager(target: Target) -> Config:
    """Returns the limits of memory and connections, and what happens on the way there."""
    return {
        "refresh_interval": "0.05s",  # 4 MiB bodies arrive at gigabytes in a second
        # Memory is accounted to streams of 1 MiB and more, which are the first to be reset.
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
        "resource_monitors": [
            extension(_HEAP, "resource_monitors.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=target.heap_bytes),
            extension(
                _CONNECTIONS,
                "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=target.max_connections,
            ),
        ],
        "actions": [
            # An idle connection is closed early when memory or connections run short: one client that opens many
            # then keeps others out for seconds only. Envoy has no limit of connections for each address.
            _action("reduce_timeouts", _of(_HEAP, 0.6, 0.9), _of(_CONNECTIONS, 0.5, 0.9), typed_config=_IDLE_TIMEOUT),
            _action("close_idle_http_connections", _above(_HEAP, 0.85), _above(_CONNECTIONS, 0.8)),
            _action("reset_high_memory_stream", _of(_HEAP, 0.55, 0.8)),  # of HTTP/2
            _action("shrink_heap", _above(_HEAP, 0.8)),
            _action("stop_accepting_requests", _above(_HEAP, 0.9)),
            _action("stop_accepting_connections", _above(_HEAP, 0.95)),
        ],
        "loadshed_points": [
            # Requests that are still being received: the more memory is used, the likelier one is refused.
            _shed("http1_server_abort_dispatch", _of(_HEAP, 0.55, 0.8)),
            _shed("http2_server_go_away_and_close_on_dispatch", _of(_HEAP, 0.75, 0.95)),
        ],
    }


def layered_runtime() -> Config:
    """Returns the runtime values of resets, and the size of regular expressions that Envoy accepts."""
    values = {
        "overload.premature_reset_total_stream_count": 2 * PREMATURE_RESETS,  # Envoy counts half of them
        "overload.premature_reset_min_stream_lifetime_seconds": 1,
        "re2.max_program_size.error_level": REGEX_SIZE,
    }
    return {"layers": [{"name": "gateway", "static_layer": values}]}


def reset_limits() -> Config:
    """Returns the limits of resets, as options of HTTP/2."""
    return {"stream_reset_burst": RESET_BURST, "stream_reset_rate": RESET_RATE}


def _action(name: str, *triggers: Config, **fields: object) -> Config:
    return {"name": f"envoy.overload_actions.{name}", "triggers": [*triggers], **fields}


def _shed(name: str, trigger: Config) -> Config:
    return {"name": f"envoy.load_shed_points.{name}", "triggers": [trigger]}


def _above(resource: str, share: float) -> Config:
    return {"name": resource, "threshold": {"value": share}}


def _of(resource: str, least: float, most: float) -> Config:
    return {"name": resource, "scaled": {"scaling_threshold": least, "saturation_threshold": most}}
