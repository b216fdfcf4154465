"""Runs PulseTrack in containers: `python3 -m deploy.compose up`, `down`, `images` or `check`.

`check` reports whether this machine can run containers, and pulls the base images.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from deploy.compose import engine, images
from deploy.compose.secrets import Secrets
from deploy.errors import StartError
from deploy.settings import HOST, Settings
from deploy.summary import summary

_START_SECONDS = 300


def main() -> int:
    """Returns the exit code: 1 if it could not be done, which one sentence explains."""
    parser = argparse.ArgumentParser(prog="python3 -m deploy.compose", description=__doc__)
    parser.add_argument("what", choices=_DO)
    what = parser.parse_args().what
    try:
        engine.check()
        _DO[what](_told())
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _up(told: Mapping[str, str]) -> None:
    begin = time.monotonic()
    settings = Settings.read(told)
    secrets = Secrets(settings.data_dir / "compose")
    new = secrets.are_new()
    if new:
        _check_volumes(secrets, told)
    try:
        secrets.complete(settings.admin_password)
    except OSError as error:
        raise StartError(f"The secrets in {secrets.folder} cannot be made: {error.strerror}.") from None
    if settings.admin_password not in {None, secrets.admin_password.read_text(encoding="utf-8")}:
        print("PULSETRACK_ADMIN_PASSWORD has no effect: the first admin has a password already")
    for remark in settings.remarks():
        print(remark)
    engine.compose("up", "--detach", "--build", environment=told)
    host = _host(told)
    _until_ready(host, settings.gateway_port)
    show = new and settings.admin_password is None
    stop = "`make compose-down` stops it and keeps its data."
    seconds = time.monotonic() - begin
    print(summary(settings, secrets.admin_password, show_password=show, seconds=seconds, host=host, stop=stop))


def _down(told: Mapping[str, str]) -> None:
    engine.compose("down", environment=told)


def _images(told: Mapping[str, str]) -> None:
    engine.compose("build", environment=told)
    print(images.report(told))


def _check(_: Mapping[str, str]) -> None:
    if reason := images.missing():
        raise StartError(reason)


_DO = {"up": _up, "down": _down, "images": _images, "check": _check}


def _host(told: Mapping[str, str]) -> str:
    """Returns the address at which this machine reaches the gateway."""
    address = told.get("PULSETRACK_GATEWAY_ADDRESS") or HOST
    return HOST if address == "0.0.0.0" else address  # noqa: S104 - compares, binds nothing


def _until_ready(host: str, port: int) -> None:
    """Waits until all services serve. Raises StartError if that takes far too long."""
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit:
        with suppress(OSError, HTTPException), closing(HTTPConnection(host, port, timeout=5)) as gateway:
            gateway.request("GET", "/readyz")
            if gateway.getresponse().status == HTTPStatus.OK:
                return
        time.sleep(0.5)
    raise StartError(
        f"Not all services serve after {_START_SECONDS} s; see `docker compose ps` and `docker compose logs`."
    )


def _told() -> dict[str, str]:
    """Returns the environment with what .env adds to it, for docker compose and for the settings that `make up` reads.

    Raises StartError.
    """
    lines = engine.said_by_compose("config", "--environment").splitlines()
    told = dict(os.environ) | dict(line.split("=", 1) for line in lines if line.startswith("PULSETRACK_"))
    told["PULSETRACK_SIGN_UP"] = told.get("PULSETRACK_SIGN_UP") or "closed"
    told["PULSETRACK_DATA_DIR"] = str(Settings.read(told).data_dir)
    return {"PULSETRACK_REVISION": _revision()} | told


def _revision() -> str:
    """Returns the commit that is checked out, for the images' labels."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty"], check=False, cwd=engine.ROOT, capture_output=True, text=True
        )
    except FileNotFoundError:
        return "unknown"
    return asked.stdout.strip() or "unknown"


def _check_volumes(secrets: Secrets, told: Mapping[str, str]) -> None:
    """Raises StartError if there are databases already, whose passwords are therefore elsewhere."""
    config = json.loads(engine.said_by_compose("config", "--format", "json", environment=told))
    volume = config["volumes"]["postgres"]["name"]
    if engine.has_volume(volume):
        raise StartError(
            f"The databases in the volume {volume} belong to other secrets than those that would be made in "
            f"{secrets.folder}: name their folder in PULSETRACK_DATA_DIR, or another copy in COMPOSE_PROJECT_NAME."
        )


if __name__ == "__main__":
    sys.exit(main())
