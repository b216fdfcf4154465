"""A copy in containers of a test's own, and what can be done to it."""

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
"""The containers that go on running."""

_POLL_SECONDS = 0.5  # to ask docker costs more than to wait
_KILL = "import os, signal, sys; os.kill(int(sys.argv[1]), signal.SIGKILL)"


@dataclass(frozen=True)
class Stack:
    """The containers of one copy."""

    project: str
    folder: Path
    """Its data folder."""
    port: int

    @property
    def url(self) -> str:
        """Where its gateway listens."""
        return f"http://{HOST}:{self.port}"

    @property
    def secrets(self) -> Path:
        """The folder of its secrets."""
        return self.folder / "compose"

    @property
    def admin_password(self) -> str:
        """The first admin's password."""
        return (self.secrets / "admin-password").read_text(encoding="utf-8")

    def make(self, what: str) -> str:
        """Does what `make compose` does, or another of the program's words; returns what it prints."""
        return self._run(sys.executable, "-m", "deploy.compose", what)

    def compose(self, *arguments: str) -> str:
        """Runs `docker compose` and returns what it prints."""
        return self._run("docker", "compose", *arguments)

    def containers(self, service: str = "") -> dict[str, dict[str, Any]]:
        """Returns all containers, or a service's, as the engine describes them, by name."""
        ids = self.compose("ps", "--all", "--quiet", *([service] if service else [])).split()
        described = json.loads(self._run("docker", "inspect", *ids)) if ids else []
        return {one["Name"].strip("/"): one for one in described}

    def inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in a service's container, as its user."""
        command = ("docker", "compose", "exec", "-T", service, *command)
        return subprocess.run(
            command, check=False, cwd=ROOT, env=self._environment(), capture_output=True, text=True, timeout=60
        )

    def crash(self, service: str) -> None:
        """Kills a service's process, as if the system had run out of memory, so that the engine starts it again."""
        [container] = self.containers(service).values()
        killer = ("docker", "run", "--rm", "--pid=host", "--user=0", "--cap-drop=ALL", "--cap-add=KILL")
        image = self.containers("auth").popitem()[1]["Image"]
        self._run(*killer, "--entrypoint=python", image, "-c", _KILL, str(container["State"]["Pid"]))
        eventually(lambda: self._restarts(service) > container["RestartCount"], seconds=60)

    def until_healed(self, service: str) -> None:
        """Waits until a service that was started again is healthy, and all services serve."""
        eventually(lambda: self._health(service) == "healthy", seconds=180)
        eventually(self._ready, seconds=120)

    def _restarts(self, service: str) -> int:
        time.sleep(_POLL_SECONDS)
        return sum(one["RestartCount"] for one in self.containers(service).values())

    def _health(self, service: str) -> str:
        time.sleep(_POLL_SECONDS)
        [container] = self.containers(service).values()
        return str(container["State"]["Health"]["Status"])

    def _ready(self) -> bool:
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

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, check=False, cwd=ROOT, env=self._environment(), capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """Builds and starts a copy, and removes it with all that it keeps at the end."""
    stack = Stack(f"pulsetrack-test-{uuid4().hex[:8]}", folder, free_port())
    try:
        stack.make("up")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "5")
