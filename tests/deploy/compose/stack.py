"""A Compose stack for tests."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from deploy.settings import HOST
from tests.harness.waiting import eventually
from tools.local.process import ROOT
from tools.ports import free_port

SERVERS = ("postgres", "kafka", "auth", "patient", "billing", "analytics", "envoy")
"""The containers that run permanently."""

_POLL_SECONDS = 0.5  # a call of docker is expensive
_KILL = "import os, signal, sys; os.kill(int(sys.argv[1]), signal.SIGKILL)"


@dataclass(frozen=True)
class Stack:
    """The containers of a Compose project."""

    project: str
    folder: Path
    """The data folder."""
    port: int

    @property
    def url(self) -> str:
        """The URL of the gateway."""
        return f"http://{HOST}:{self.port}"

    @property
    def secrets(self) -> Path:
        """The folder of the secrets."""
        return self.folder / "compose"

    @property
    def admin_password(self) -> str:
        """The first admin's password."""
        return (self.secrets / "admin-password").read_text(encoding="utf-8")

    def run_program(self, command: str, **settings: str) -> str:
        """Runs a command of deploy.compose, such as `up`, with further settings, and returns its output."""
        return self._run(sys.executable, "-m", "deploy.compose", command, **settings)

    def run_backup(self, command: str, *arguments: str) -> str:
        """Runs a command of tools.backup on the containers, and returns its output."""
        return self._run(sys.executable, "-m", "tools.backup", command, "--compose", *arguments)

    def compose(self, *arguments: str) -> str:
        """Runs `docker compose` and returns its output."""
        return self._run("docker", "compose", *arguments)

    def containers(self, service: str = "") -> dict[str, dict[str, Any]]:
        """Returns the engine's descriptions of all containers, or of those of a service, by name."""
        ids = self.compose("ps", "--all", "--quiet", *([service] if service else [])).split()
        described = json.loads(self._run("docker", "inspect", *ids)) if ids else []
        return {one["Name"].strip("/"): one for one in described}

    def execute(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the container of a service, as the container's user."""
        command = ("docker", "compose", "exec", "-T", service, *command)
        return subprocess.run(
            command, check=False, cwd=ROOT, env=self._environment(), capture_output=True, text=True, timeout=60
        )

    def crash(self, service: str) -> None:
        """Kills the process of a service, like an out-of-memory kill, and waits until the engine has restarted it."""
        [container] = self.containers(service).values()
        killer = ("docker", "run", "--rm", "--pid=host", "--user=0", "--cap-drop=ALL", "--cap-add=KILL")
        image = self.containers("auth").popitem()[1]["Image"]
        self._run(*killer, "--entrypoint=python", image, "-c", _KILL, str(container["State"]["Pid"]))
        eventually(lambda: self._count_restarts(service) > container["RestartCount"], seconds=60)

    def wait_until_healthy(self, service: str) -> None:
        """Waits until a restarted service is healthy and all services are ready."""
        eventually(lambda: self._read_health(service) == "healthy", seconds=180)
        eventually(self._is_ready, seconds=120)

    def _count_restarts(self, service: str) -> int:
        time.sleep(_POLL_SECONDS)
        return sum(one["RestartCount"] for one in self.containers(service).values())

    def _read_health(self, service: str) -> str:
        time.sleep(_POLL_SECONDS)
        [container] = self.containers(service).values()
        return str(container["State"]["Health"]["Status"])

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).is_success
        except httpx.TransportError:
            return False

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_PROGRESS": "quiet",
            "PULSETRACK_DATA_DIR": str(self.folder),
            "PULSETRACK_GATEWAY_PORT": str(self.port),
            "PULSETRACK_VERSION": "test",
        }

    def _run(self, *command: str, **settings: str) -> str:
        environment = self._environment() | settings
        process = subprocess.run(
            command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
        )
        assert process.returncode == 0, f"{' '.join(command)}:\n{process.stdout}{process.stderr}"
        return process.stdout


@contextmanager
def run_stack(folder: Path) -> Iterator[Stack]:
    """Builds and starts a stack, and removes it with its data at the end."""
    stack = Stack(f"pulsetrack-test-{uuid4().hex[:8]}", folder, free_port())
    try:
        stack.run_program("up")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "5")
