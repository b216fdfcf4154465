"""Command-line options of the load generator."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import StartError
from deploy.settings import HOST, Settings
from tools.load.errors import LoadError
from tools.local.data_folder import State


@dataclass(frozen=True)
class Options:
    """Phases to run, the gateway to load, and the gates that the results must pass."""

    phases: tuple[str, ...]
    """Names of the phases. Empty runs all."""
    url: str
    protocol: str
    """`rest` or `grpc`."""
    users: int
    rate: float
    seconds: float
    watchers: int
    max_errors: int
    max_mean_ms: float
    max_p99_ms: float
    json: Path
    html: Path


def parse(arguments: list[str] | None = None) -> Options:
    """Returns the options on the command line or in `arguments`. Raises LoadError if the gateway's URL is unknown."""
    values = vars(_parser().parse_args(arguments))
    url = values.pop("url") or os.environ.get("PULSETRACK_URL") or _url_of_local_system()
    return Options(**{**values, "phases": tuple(values["phases"]), "url": url.rstrip("/")})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.load",
        description="Generates load on a running gateway. Exits with 1 if a gate fails.",
    )
    parser.add_argument("phases", nargs="*", metavar="PHASE", help="phases to run (default: all)")
    parser.add_argument("--url", help="URL of the gateway (default: $PULSETRACK_URL, or the system that runs here)")
    parser.add_argument("--protocol", choices=("rest", "grpc"), default="rest", help="(default: %(default)s)")
    parser.add_argument("--users", type=_positive_int, default=50, help="sign-ups and logins (default: %(default)s)")
    parser.add_argument("--rate", type=_positive, default=60, help="calls per second of mixed (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=_positive, default=15, help="duration of mixed and watchers (default: %(default)s)"
    )
    parser.add_argument("--watchers", type=_positive_int, default=50, help="concurrent streams (default: %(default)s)")
    gates = parser.add_argument_group("gates, applied to each phase")
    infinity = float("inf")
    gates.add_argument("--max-errors", type=int, default=0, help="maximum failed calls (default: %(default)s)")
    gates.add_argument("--max-mean-ms", type=_positive, default=infinity, help="maximum mean latency (default: none)")
    gates.add_argument("--max-p99-ms", type=_positive, default=infinity, help="maximum p99 latency (default: none)")
    files = parser.add_argument_group("results")
    files.add_argument("--json", type=Path, default=Path("build/load.json"), help="(default: %(default)s)")
    files.add_argument("--html", type=Path, default=Path("build/load.html"), help="plots (default: %(default)s)")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be greater than 0, not {text}")
    return number


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return number


def _url_of_local_system() -> str:
    try:
        state = State.read(Settings.read().data_dir)
    except StartError as error:
        raise LoadError(str(error)) from None
    if state is None or not any(entry.process() for entry in state.processes.values()):
        raise LoadError("PulseTrack is not running. Start it with `make up`, or set PULSETRACK_URL to a gateway's URL.")
    return f"http://{HOST}:{state.gateway_port}"
