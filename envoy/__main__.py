"""Writes the gateway's configuration for a target to standard output, or has Envoy validate it for all of them.

`python -m envoy --write compose`, `python -m envoy --check`.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from envoy.config import Address, EnvoyMissingError, Target, binary, render
from envoy.target import parse_origins
from services.common.protobuf.contract import DESCRIPTORS, SERVICES

TARGETS = {
    "local": Target(
        listen=Address("127.0.0.1", 8080),
        admin=Address("127.0.0.1", 9901),
        upstreams={name: (Address("127.0.0.1", 50051 + place),) for place, name in enumerate(SERVICES)},
        descriptors=DESCRIPTORS,
        site=Path("/srv/site"),
    ),
    "compose": Target(
        listen=Address("0.0.0.0", 8080),  # noqa: S104 - in a container
        admin=Address("127.0.0.1", 9901),
        upstreams={name: (Address(name, 50051),) for name in SERVICES},
        descriptors=DESCRIPTORS,
        site=Path("/srv/site"),
        discovery="dns",
        drains=True,
    ),
}
TARGETS["cloud"] = replace(
    TARGETS["compose"], upstreams={name: (Address(f"{name}.pulsetrack.internal", 50051),) for name in SERVICES}
)
"""A target of each kind: processes on one machine, and services that are found by a name, or by one in a zone."""


def main() -> int:
    """Returns 0, or 1 after printing why a target's configuration is not valid."""
    parser = argparse.ArgumentParser(prog="python -m envoy", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="validate; nothing is kept or started")
    what.add_argument("--write", choices=TARGETS, metavar="TARGET", help="write this target's configuration")
    for switch in ("reflection", "rate-limits"):
        parser.add_argument(f"--{switch}", choices=("on", "off"), default="on")
    parser.add_argument("--trusted-proxies", type=int, default=0, metavar="COUNT", help="proxies before the gateway")
    parser.add_argument(
        "--cors-origins", type=parse_origins, default=(), metavar="ORIGIN,...", help="pages that may call"
    )
    parser.add_argument("--otlp", type=_address, metavar="HOST:PORT", help="who receives spans, by OTLP over gRPC")
    said = parser.parse_args()
    if said.check:
        return _check()
    switches = {"reflection": said.reflection == "on", "rate_limits": said.rate_limits == "on"}
    target = replace(TARGETS[said.write], **switches, otlp=said.otlp, trusted_proxies=said.trusted_proxies)
    target = replace(target, cors_origins=said.cors_origins)
    print(render(target), end="")
    return 0


def _address(text: str) -> Address | None:
    """Returns the address that a text names, None for an empty one. Raises ValueError."""
    host, _, port = text.rpartition(":")
    return Address(host, int(port)) if text else None


def _check() -> int:
    others = {
        "compose, all switched off": replace(TARGETS["compose"], reflection=False, rate_limits=False),
        "compose, traced": replace(TARGETS["compose"], otlp=Address("collector", 4317)),
        "compose, behind a proxy": replace(TARGETS["compose"], trusted_proxies=1),
        "compose, with pages of another origin": replace(TARGETS["compose"], cors_origins=("https://clinic.example",)),
    }
    try:
        reasons = [reason for name, target in (TARGETS | others).items() if (reason := _invalid(name, target))]
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
