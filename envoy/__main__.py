"""`python -m envoy --check`: writes the configuration of each kind of target and has Envoy validate it."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from envoy.config import Address, EnvoyMissingError, Target, binary, render
from services.common.contract import DESCRIPTORS, SERVICES

TARGETS = {
    "local": Target(
        listen=Address("127.0.0.1", 8080),
        admin=Address("127.0.0.1", 9901),
        upstreams={name: (Address("127.0.0.1", 50051 + place),) for place, name in enumerate(SERVICES)},
        descriptors=DESCRIPTORS,
        site=Path("/srv/site"),
    ),
    "names": Target(
        listen=Address("0.0.0.0", 8080),  # noqa: S104 - in a container
        admin=Address("127.0.0.1", 9901),
        upstreams={name: (Address(name, 50051),) for name in SERVICES},
        descriptors=DESCRIPTORS,
        site=Path("/srv/site"),
        discovery="dns",
        reflection=False,
    ),
}
"""A target of each kind: processes on one machine, and services that are found by name."""


def main() -> int:
    """Returns 0 if every target's configuration is valid; prints why not otherwise."""
    parser = argparse.ArgumentParser(prog="python -m envoy", description=__doc__)
    parser.add_argument("--check", action="store_true", required=True, help="validate; nothing is kept or started")
    parser.parse_args()
    try:
        reasons = [reason for name, target in TARGETS.items() if (reason := _invalid(name, target))]
    except EnvoyMissingError as missing:
        reasons = [str(missing)]
    for reason in reasons:
        print(reason, file=sys.stderr)
    return 1 if reasons else 0


def _invalid(name: str, target: Target) -> str | None:
    """Returns why Envoy refuses the target's configuration, or None."""
    with tempfile.TemporaryDirectory(prefix="pulsetrack-envoy-") as folder:
        file = Path(folder, "envoy.yaml")
        file.write_text(render(target))
        command = [str(binary()), "--mode", "validate", "--disable-hot-restart", "-l", "critical", "-c", str(file)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own binary
    return None if run.returncode == 0 else f"Envoy refuses the {name} target: {run.stdout}{run.stderr}".strip()


if __name__ == "__main__":
    sys.exit(main())
