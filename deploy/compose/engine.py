"""The Docker command line."""

import os
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from deploy.errors import StartError

ROOT = Path(__file__).resolve().parents[2]


def check() -> None:
    """Raises StartError if this machine cannot run containers."""
    if reason := find_problem():
        raise StartError(reason)


def find_problem() -> str:
    """Returns why this machine cannot run containers. Empty if it can."""
    try:
        if _run("docker", "compose", "version", capture=True).returncode:
            return "`docker compose` is missing. Install the Docker Compose plugin, version 2."
        version = _run("docker", "version", "--format", "{{.Server.Version}}", capture=True)
    except FileNotFoundError:
        return "`docker` is missing. Install Docker 20.10 or newer with Compose 2."
    if version.returncode:
        return f"The Docker engine does not respond: {version.stderr.strip().splitlines()[-1]}"
    return ""


def compose(*arguments: str, environment: Mapping[str, str] = os.environ, text: str | None = None) -> None:
    """Runs `docker compose` with its output shown to the user, and a text as its standard input, if one is given.

    Raises StartError if it fails.
    """
    if code := _run("docker", "compose", *arguments, environment=environment, text=text).returncode:
        raise StartError(f"`docker compose {arguments[0]}` failed with status {code}. See `docker compose logs`.")


def read_compose(*arguments: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns the output of `docker compose`. Raises StartError if it fails."""
    return read("compose", *arguments, environment=environment)


def read(*arguments: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns the output of `docker`. Raises StartError if it fails."""
    process = _run("docker", *arguments, environment=environment, capture=True)
    if process.returncode:
        raise StartError(f"`docker {' '.join(arguments[:2])}` failed: {process.stderr.strip()}")
    return process.stdout


def run_program(image: str, *arguments: str, text: str) -> str:
    """Runs a program in a container without a network, and returns its output, which is not logged.

    Takes the text for its standard input. Raises StartError if it fails.
    """
    options = ("--rm", "--interactive", "--network=none", "--log-driver=none", "--read-only", "--cap-drop=ALL")
    process = _run("docker", "run", *options, image, *arguments, capture=True, text=text)
    if process.returncode:
        raise StartError(f"`docker run {image}` failed: {process.stderr.strip()}")
    return process.stdout.strip()


def parse_time(text: str) -> datetime:
    """Parses a UTC time to the microsecond. The engine's times have more digits."""
    return datetime.fromisoformat(f"{text[:26].rstrip('Z')}+00:00")


def read_log(container: str, *, since: str) -> list[str]:
    """Returns the lines of a container's standard error since a time."""
    return _run("docker", "logs", "--since", since, container, capture=True).stderr.splitlines()


def has_image(name: str) -> bool:
    """Returns whether the engine has the image."""
    return _run("docker", "image", "inspect", name, capture=True).returncode == 0


def has_volume(name: str) -> bool:
    """Returns whether the engine has the volume."""
    return _run("docker", "volume", "inspect", name, capture=True).returncode == 0


def _run(
    *command: str, environment: Mapping[str, str] = os.environ, capture: bool = False, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=capture, text=True, input=text
    )
