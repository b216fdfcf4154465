"""The docker command and the engine behind it."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.errors import StartError

ROOT = Path(__file__).resolve().parents[2]


def check() -> None:
    """Raises StartError if this machine cannot run containers."""
    if reason := missing():
        raise StartError(reason)


def missing() -> str:
    """Says in one sentence what containers cannot be run for want of; empty if they can."""
    try:
        if _run("docker", "compose", "version", capture=True).returncode:
            return "`docker compose` is missing: install docker's compose plugin, version 2."
        answer = _run("docker", "version", "--format", "{{.Server.Version}}", capture=True)
    except FileNotFoundError:
        return "`docker` is missing: install docker 20.10 or newer, with compose 2."
    if answer.returncode:
        return f"No docker engine answers: {answer.stderr.strip().splitlines()[-1]}"
    return ""


def compose(*arguments: str, environment: Mapping[str, str] = os.environ) -> None:
    """Runs `docker compose` in front of the user. Raises StartError if it fails."""
    if code := _run("docker", "compose", *arguments, environment=environment).returncode:
        raise StartError(f"`docker compose {arguments[0]}` failed with status {code}; see `docker compose logs`.")


def said_by_compose(*arguments: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns what `docker compose` prints. Raises StartError with its reason if it fails."""
    return said("compose", *arguments, environment=environment)


def said(*arguments: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns what `docker` prints. Raises StartError with its reason if it fails."""
    answer = _run("docker", *arguments, environment=environment, capture=True)
    if answer.returncode:
        raise StartError(f"`docker {' '.join(arguments[:2])}` failed: {answer.stderr.strip()}")
    return answer.stdout


def logged(container: str, *, since: str) -> list[str]:
    """Returns the lines that a container has written to its standard error since a time."""
    return _run("docker", "logs", "--since", since, container, capture=True).stderr.splitlines()


def has_image(name: str) -> bool:
    """Returns whether the engine has an image of this name."""
    return _run("docker", "image", "inspect", name, capture=True).returncode == 0


def has_volume(name: str) -> bool:
    """Tells whether the engine keeps a volume of this name."""
    return _run("docker", "volume", "inspect", name, capture=True).returncode == 0


def _run(
    *command: str, environment: Mapping[str, str] = os.environ, capture: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=capture, text=True)
