"""Overload protection: the gateway sheds load before it runs out of memory or connections."""

from envoy.extension import Config, extension, to_any
from envoy.headers import REGEX_SIZE
from envoy.target import Target

_HEAP = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
_IDLE_TIMEOUT = to_any(
    "envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
    timer_scale_factors=[{"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "2s"}],
)

RESET_BURST = 10_000
RESET_RATE = 1000
"""Limits of stream resets per connection: a burst, and a sustained rate per second.

They exceed the rate limit of calls. A client that opens and cancels short watches stays connected, and a flood of
resets closes the connection.
"""
PREMATURE_RESETS = 5000
"""Maximum number of requests per connection that a client cancels before a response. Applies once they are half of
its requests."""


def overload_manager(target: Target) -> Config:
    """Returns the overload manager: limits of heap and connections, and the actions at each threshold."""
    return {
        "refresh_interval": "0.05s",  # 4 MiB bodies can arrive at gigabytes per second
        # Envoy tracks the memory of streams that buffer 1 MiB or more, and resets those first.
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
            # Envoy cannot limit connections per address. It closes idle connections early under pressure, so a client
            # that opens many connections blocks other clients only for seconds.
            _action(
                "reduce_timeouts",
                _scaled(_HEAP, 0.6, 0.9),
                _scaled(_CONNECTIONS, 0.5, 0.9),
                typed_config=_IDLE_TIMEOUT,
            ),
            _action("close_idle_http_connections", _threshold(_HEAP, 0.85), _threshold(_CONNECTIONS, 0.8)),
            _action("reset_high_memory_stream", _scaled(_HEAP, 0.55, 0.8)),  # HTTP/2 only
            _action("shrink_heap", _threshold(_HEAP, 0.8)),
            _action("stop_accepting_requests", _threshold(_HEAP, 0.9)),
            _action("stop_accepting_connections", _threshold(_HEAP, 0.95)),
        ],
        "loadshed_points": [
            # Rejects requests that are still being received, with a probability that increases with memory use.
            _load_shed_point("http1_server_abort_dispatch", _scaled(_HEAP, 0.55, 0.8)),
            _load_shed_point("http2_server_go_away_and_close_on_dispatch", _scaled(_HEAP, 0.75, 0.95)),
        ],
    }


def memory_allocator() -> Config:
    """Returns the rate at which free memory is returned to the operating system.

    Without it, Envoy keeps the memory of its largest burst of requests. The rate is low because busy workers need
    some of this memory again, and then have to get it back from the operating system.
    """
    return {"bytes_to_release": 1024 * 1024, "memory_release_interval": "1s"}


def layered_runtime() -> Config:
    """Returns the runtime values for premature resets and the size of regular expressions."""
    values = {
        "overload.premature_reset_total_stream_count": 2 * PREMATURE_RESETS,  # Envoy's limit is half of this value
        "overload.premature_reset_min_stream_lifetime_seconds": 1,
        "re2.max_program_size.error_level": REGEX_SIZE,
    }
    return {"layers": [{"name": "gateway", "static_layer": values}]}


def reset_limits() -> Config:
    """Returns the HTTP/2 options that limit stream resets."""
    return {"stream_reset_burst": RESET_BURST, "stream_reset_rate": RESET_RATE}


def _action(name: str, *triggers: Config, **fields: object) -> Config:
    return {"name": f"envoy.overload_actions.{name}", "triggers": [*triggers], **fields}


def _load_shed_point(name: str, trigger: Config) -> Config:
    return {"name": f"envoy.load_shed_points.{name}", "triggers": [trigger]}


def _threshold(resource: str, pressure: float) -> Config:
    return {"name": resource, "threshold": {"value": pressure}}


def _scaled(resource: str, scaling: float, saturation: float) -> Config:
    return {"name": resource, "scaled": {"scaling_threshold": scaling, "saturation_threshold": saturation}}
