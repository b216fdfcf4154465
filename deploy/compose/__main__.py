"""Runs PulseTrack in containers: `python3 -m deploy.compose up`, `down`, `images` or `check`.

`check` reports whether this machine can run containers, and pulls missing base images.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from deploy.compose import engine, images
from deploy.compose.secrets import Secrets
from deploy.compose.upgrade import Upgrade
from deploy.errors import StartError
from deploy.settings import HOST, Settings
from deploy.summary import summary
from deploy.topology import count_connections

_START_SECONDS = 300
_MIN_CONNECTIONS = 300
_POSTGRES_PROCESSES = 50
"""The processes of Postgres, apart from one for each connection."""


def main() -> int:
    """Returns the exit code. After an error, which is printed, it is 1."""
    parser = argparse.ArgumentParser(prog="python3 -m deploy.compose", description=__doc__)
    parser.add_argument("command", choices=_COMMANDS)
    command = parser.parse_args().command
    try:
        engine.check()
        _COMMANDS[command](read_environment())
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _up(environment: Mapping[str, str]) -> None:
    begin = time.monotonic()
    settings = Settings.read(environment)
    secrets = Secrets(settings.data_dir / "compose")
    new = secrets.are_new()
    if new:
        _check_volumes(secrets, environment)
    try:
        secrets.create_missing(settings.admin_password, settings.smtp_url)
    except OSError as error:
        raise StartError(f"The secrets in {secrets.folder} cannot be created: {error.strerror}.") from None
    if settings.admin_password not in {None, secrets.admin_password.read_text(encoding="utf-8")}:
        print("PULSETRACK_ADMIN_PASSWORD is ignored: the first admin already has a password")
    for warning in settings.warnings(sends_mail=secrets.sends_mail):
        print(warning)
    engine.compose("build", environment=environment)
    upgrade = Upgrade(environment, settings.workers, certified=_renew_certificates(secrets, environment))
    upgrade.replace_services()
    engine.compose("up", "--detach", *upgrade.list_targets(), environment=environment)
    upgrade.restart_gateway()
    host = _gateway_host(environment)
    _wait_until_ready(host, settings.gateway_port)
    show = new and settings.admin_password is None
    stop = "Run `make compose-down` to stop. Data is preserved."
    seconds = time.monotonic() - begin
    print(summary(settings, secrets.admin_password, show_password=show, seconds=seconds, host=host, stop=stop))


def _renew_certificates(secrets: Secrets, environment: Mapping[str, str]) -> datetime:
    """Renews the certificates of the gateway and the services if needed. Returns the time of their last change.

    The program runs in an image, because it needs packages. Raises StartError.
    """
    image = f"pulsetrack/databases:{environment.get('PULSETRACK_VERSION') or 'dev'}"
    rotate = ["--rotate"] if environment.get("PULSETRACK_ROTATE_CERTIFICATES") == "yes" else []
    try:
        stored = secrets.read_certificates()
        return secrets.store_certificates(engine.run_program(image, "deploy.certificates", *rotate, text=stored))
    except OSError as error:
        raise StartError(f"The certificates in {secrets.folder} cannot be stored: {error.strerror}.") from None


def _down(environment: Mapping[str, str]) -> None:
    engine.compose("down", environment=environment)


def _images(environment: Mapping[str, str]) -> None:
    everything = {**environment, "COMPOSE_PROFILES": images.CLOUD}
    engine.compose("build", environment=everything)
    print(images.report(everything))


def _check(_: Mapping[str, str]) -> None:
    if reason := images.pull_missing():
        raise StartError(reason)


_COMMANDS = {"up": _up, "down": _down, "images": _images, "check": _check}


def _gateway_host(environment: Mapping[str, str]) -> str:
    """Returns the gateway's address for clients on this machine."""
    address = environment.get("PULSETRACK_GATEWAY_ADDRESS") or HOST
    return HOST if address == "0.0.0.0" else address  # noqa: S104 - a comparison


def _wait_until_ready(host: str, port: int) -> None:
    """Waits until all services are ready. Raises StartError after a timeout."""
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit:
        with suppress(OSError, HTTPException), closing(HTTPConnection(host, port, timeout=5)) as gateway:
            gateway.request("GET", "/readyz")
            if gateway.getresponse().status == HTTPStatus.OK:
                return
        time.sleep(0.5)
    raise StartError(
        f"Not all services are ready after {_START_SECONDS} s. See `docker compose ps` and `docker compose logs`."
    )


def read_environment() -> dict[str, str]:
    """Returns the environment, extended by the .env file and by defaults. Raises StartError."""
    lines = engine.read_compose("config", "--environment").splitlines()
    environment = dict(os.environ) | dict(line.split("=", 1) for line in lines if line.startswith("PULSETRACK_"))
    environment["PULSETRACK_SIGN_UP"] = environment.get("PULSETRACK_SIGN_UP") or "invite"
    settings = Settings.read(environment)
    environment["PULSETRACK_DATA_DIR"] = str(settings.data_dir)
    limits = limit_connections(environment, settings.workers)
    # Several containers must not share a member id.
    member = {"PULSETRACK_CONSUMER_ID": "analytics"} if settings.workers == 1 else {}
    return {"PULSETRACK_REVISION": _read_revision()} | limits | member | environment


def limit_connections(environment: Mapping[str, str], workers: int) -> dict[str, str]:
    """Returns the settings with the numbers of Postgres' connections and processes. Raises StartError."""
    per_process = environment.get("PULSETRACK_DATABASE_CONNECTIONS") or "10"
    if not per_process.isdecimal():
        raise StartError(f"PULSETRACK_DATABASE_CONNECTIONS must be a number, not {per_process!r}.")
    connections = max(_MIN_CONNECTIONS, count_connections(int(per_process), workers))
    return {
        "PULSETRACK_POSTGRES_CONNECTIONS": str(connections),
        "PULSETRACK_POSTGRES_PROCESSES": str(connections + _POSTGRES_PROCESSES),
    }


def _read_revision() -> str:
    """Returns the current commit, for the labels of the images."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"], check=False, cwd=engine.ROOT, capture_output=True, text=True
        )
    except FileNotFoundError:
        return "unknown"
    return described.stdout.strip() or "unknown"


def _check_volumes(secrets: Secrets, environment: Mapping[str, str]) -> None:
    """Raises StartError if databases exist but the folder has no secrets, which must then be in another folder."""
    config = json.loads(engine.read_compose("config", "--format", "json", environment=environment))
    volume = config["volumes"]["postgres"]["name"]
    if engine.has_volume(volume):
        raise StartError(
            f"The volume {volume} has databases, but {secrets.folder} has no secrets for them. "
            "Set PULSETRACK_DATA_DIR to the folder of their secrets, or COMPOSE_PROJECT_NAME to a new name."
        )


if __name__ == "__main__":
    sys.exit(main())
