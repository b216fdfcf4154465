"""Writes the gateway configuration of a target to standard output, or validates the configurations of all targets.

`python -m envoy --write compose`, `python -m envoy --check`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from deploy.certificates import renew, write_files
from deploy.topology import GATEWAY, TLS_SETTINGS, tls_secrets
from envoy.config import Address, Target, render
from envoy.program import EnvoyMissingError, binary
from envoy.target import ExternalIssuer, parse_origins
from envoy.upstream_tls import UpstreamTls
from services.common.protobuf.contract import DESCRIPTORS, SERVICES

TARGETS = {
    "local": Target(
        listen=Address("127.0.0.1", 8080),
        admin=Address("127.0.0.1", 9901),
        upstreams={name: (Address("127.0.0.1", 50051 + index),) for index, name in enumerate(SERVICES)},
        descriptors=DESCRIPTORS,
        site=Path("/srv/site"),
        console=Path("/srv/console"),
    ),
    "compose": Target(
        listen=Address("0.0.0.0", 8080),  # noqa: S104 - in a container
        admin=Address("127.0.0.1", 9901),
        upstreams={name: (Address(name, 50051),) for name in SERVICES},
        descriptors=DESCRIPTORS,
        site=Path("/srv/site"),
        console=Path("/srv/console"),
        discovery="dns",
        drains=True,
        tls=UpstreamTls(*(f"/run/secrets/{name}" for name in tls_secrets(GATEWAY))),
    ),
}
TARGETS["cloud"] = replace(
    TARGETS["compose"],
    upstreams={name: (Address(f"{name}.pulsetrack.internal", 50051),) for name in SERVICES},
    tls=UpstreamTls(*TLS_SETTINGS, source="environment_variable"),
)
"""Targets by name: processes on one machine, Compose services by name, and services in a private DNS zone."""


def main() -> int:
    """Returns 0, or 1 after printing why a configuration is invalid."""
    arguments = _parser().parse_args()
    if arguments.check:
        return _check()
    target = replace(
        TARGETS[arguments.write],
        reflection=arguments.reflection == "on",
        rate_limits=arguments.rate_limits == "on",
        otlp=arguments.otlp,
        trace_percent=arguments.trace_percent,
        trusted_proxies=arguments.trusted_proxies,
        cors_origins=arguments.cors_origins,
        external_issuer=arguments.oidc_issuer and ExternalIssuer(arguments.oidc_issuer, arguments.oidc_audience),
    )
    print(render(target), end="")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m envoy", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="validate the configurations of all targets")
    action.add_argument("--write", choices=TARGETS, metavar="TARGET", help="write the configuration of this target")
    for switch in ("reflection", "rate-limits"):
        parser.add_argument(f"--{switch}", choices=("on", "off"), default="on")
    parser.add_argument(
        "--trusted-proxies", type=int, default=0, metavar="COUNT", help="number of proxies in front of the gateway"
    )
    parser.add_argument(
        "--cors-origins", type=parse_origins, default=(), metavar="ORIGIN,...", help="allowed origins of web pages"
    )
    parser.add_argument("--oidc-issuer", metavar="URL", help="issuer whose tokens are accepted beside those of auth")
    parser.add_argument("--oidc-audience", metavar="TEXT", help="audience of the tokens of this issuer")
    parser.add_argument(
        "--otlp", type=_parse_address, metavar="HOST:PORT", help="collector that receives spans by OTLP over gRPC"
    )
    parser.add_argument(
        "--trace-percent", type=float, default=100, metavar="PERCENT", help="percentage of requests that are traced"
    )
    return parser


def _parse_address(text: str) -> Address | None:
    """Returns the address in a text, or None if the text is empty. Raises ValueError."""
    host, _, port = text.rpartition(":")
    return Address(host, int(port)) if text else None


def _check() -> int:
    variants = {
        "compose, without reflection and rate limits": replace(TARGETS["compose"], reflection=False, rate_limits=False),
        "compose, with tracing": replace(TARGETS["compose"], otlp=Address("collector", 4317)),
        "compose, behind a proxy": replace(TARGETS["compose"], trusted_proxies=1),
        "compose, with an external issuer": replace(
            TARGETS["compose"], external_issuer=ExternalIssuer("https://login.example", "pulsetrack")
        ),
        "compose, with a CORS origin": replace(TARGETS["compose"], cors_origins=("https://clinic.example",)),
    }
    try:
        errors = [error for name, target in (TARGETS | variants).items() if (error := _validate(name, target))]
    except EnvoyMissingError as missing:
        errors = [str(missing)]
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


def _validate(name: str, target: Target) -> str | None:
    """Returns why Envoy rejects the configuration of a target, with new certificates, or None if it is valid."""
    with tempfile.TemporaryDirectory(prefix="pulsetrack-envoy-") as folder:
        write_files(Path(folder), renew(None, datetime.now(UTC)))
        files = [Path(folder, name) for name in tls_secrets(GATEWAY)]
        if target.tls and target.tls.source == "filename":
            target = replace(target, tls=UpstreamTls(*map(str, files)))
        variables = {variable: file.read_text() for variable, file in zip(TLS_SETTINGS, files, strict=True)}
        file = Path(folder, "envoy.yaml")
        file.write_text(render(target))
        command = [str(binary()), "--mode", "validate", "--disable-hot-restart", "-l", "critical", "-c", str(file)]
        run = subprocess.run(  # noqa: S603 - our own binary
            command, capture_output=True, text=True, check=False, env=os.environ | variables
        )
    return None if run.returncode == 0 else f"Envoy rejects the {name} target: {run.stdout}{run.stderr}".strip()


if __name__ == "__main__":
    sys.exit(main())
