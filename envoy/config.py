"""The Envoy configuration of a target, generated from the protos."""

from typing import Any

import yaml

from envoy.clusters import service_clusters
from envoy.extension import Config
from envoy.listener import gateway_listener
from envoy.overload import layered_runtime, memory_allocator, overload_manager
from envoy.target import Address, Target, socket_address
from envoy.tokens import keys_cluster
from envoy.tracing import collector_clusters

__all__ = ["Address", "Target", "build_bootstrap", "render"]


def render(target: Target) -> str:
    """Returns the configuration as YAML. Raises KeyError if a service has no upstreams."""
    return yaml.dump(build_bootstrap(target), Dumper=_PlainDumper, sort_keys=False, width=120)


def build_bootstrap(target: Target) -> Config:
    """Returns the configuration as data. Raises KeyError if a service has no upstreams."""
    return {
        "node": {"id": "gateway", "cluster": "pulsetrack"},
        "admin": _admin(target),
        "layered_runtime": layered_runtime(),
        "memory_allocator_manager": memory_allocator(),
        "overload_manager": overload_manager(target),
        "static_resources": {
            "listeners": [gateway_listener(target)],
            "clusters": [
                *service_clusters(target),
                keys_cluster(target),
                *collector_clusters(target),
            ],
        },
    }


def _admin(target: Target) -> Config:
    """Returns the administration interface, restricted to readiness, statistics and, on some targets, draining.

    It has no authentication. The other paths would change the log level, stop Envoy or expose the configuration.
    """
    paths = ("/ready", "/stats", *(("/drain_listeners",) if target.drains else ()))
    return {
        "address": socket_address(target.admin),
        "allow_paths": [{"safe_regex": {"regex": rf"{path}(\?.*)?"}} for path in paths],
    }


class _PlainDumper(yaml.CSafeDumper):
    """Writes repeated values in full instead of as YAML aliases. libyaml takes a sixth of the time of Python."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
