"""What the command line says."""

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
    """What to do, against which gateway, and what is asked of the result."""

    phases: tuple[str, ...]
    """Their names, none for all."""
    url: str
    door: str
    """`rest` or `grpc`."""
    people: int
    rate: float
    seconds: float
    watchers: int
    max_errors: int
    max_mean_ms: float
    max_p99_ms: float
    json: Path
    html: Path


def read(arguments: list[str] | None = None) -> Options:
    """Reads the command line, or the arguments. Raises LoadError if nothing says where the gateway is."""
    said = vars(_parser().parse_args(arguments))
    url = said.pop("url") or os.environ.get("PULSETRACK_URL") or _url_of_running_copy()
    return Options(**{**said, "phases": tuple(said["phases"]), "url": url.rstrip("/")})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.load",
        description="Puts load on a running gateway. Ends with 1 if it stays behind what the gates ask.",
    )
    parser.add_argument("phases", nargs="*", metavar="PHASE", help="all if none is named")
    parser.add_argument("--url", help="the gateway's; $PULSETRACK_URL, or that of the copy that runs here")
    parser.add_argument("--door", choices=("rest", "grpc"), default="rest", help="%(default)s if not said")
    parser.add_argument("--people", type=_positive_int, default=50, help="how many sign up and log in")
    parser.add_argument("--rate", type=_positive, default=60, help="calls a second in the mixed phase")
    parser.add_argument("--seconds", type=_positive, default=15, help="how long the phases mixed and watchers go on")
    parser.add_argument("--watchers", type=_positive_int, default=50, help="how many streams watch")
    gates = parser.add_argument_group("gates, for each phase")
    infinity = float("inf")
    gates.add_argument("--max-errors", type=int, default=0, help="how many calls may fail; %(default)s if not said")
    gates.add_argument("--max-mean-ms", type=_positive, default=infinity, help="how long calls may take in the mean")
    gates.add_argument("--max-p99-ms", type=_positive, default=infinity, help="how long 99%% of the calls may take")
    files = parser.add_argument_group("results")
    files.add_argument("--json", type=Path, default=Path("build/load.json"), help="%(default)s if not said")
    files.add_argument("--html", type=Path, default=Path("build/load.html"), help="plots; %(default)s if not said")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return number


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return number


def _url_of_running_copy() -> str:
    try:
        state = State.read(Settings.read().data_dir)
    except StartError as error:
        raise LoadError(str(error)) from None
    if state is None or not any(entry.process() for entry in state.processes.values()):
        raise LoadError("Nothing runs here: start PulseTrack by `make up`, or give a gateway's URL in PULSETRACK_URL.")
    return f"http://{HOST}:{state.gateway_port}"
