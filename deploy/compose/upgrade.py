"""Upgrades a running system: the new containers of a service start beside the ones that they replace."""

import json
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from deploy.compose import engine
from deploy.errors import StartError
from deploy.topology import TOPOLOGY

_HEALTHY_SECONDS = 120
_RESTARTS = 3
"""After so many restarts, a container is not waited for any longer."""
_POLL_SECONDS = 0.5
_GATEWAY = "envoy"

_Description = dict[str, Any]
"""The engine's description of a container or an image."""


class Upgrade:
    """Replaces the containers of services in a Compose project."""

    def __init__(self, environment: Mapping[str, str], workers: int, *, certified: datetime) -> None:
        """Takes the number of containers of each service after the upgrade, and the time of the certificates.

        A container that started earlier has previous certificates. Raises StartError.
        """
        self._environment = environment
        self._certified = certified
        self._workers = workers
        self._config = json.loads(self._read("config", "--format", "json"))["services"]
        self._hashes = dict(line.split() for line in self._read("config", "--hash", "*").splitlines())

    def replace_services(self) -> None:
        """Replaces the running containers of each service whose image, configuration or certificate has changed.

        Databases are migrated first. The previous containers stop when the new ones are healthy. Raises StartError if
        a migration fails or a new container does not become healthy; the previous containers then continue to run.
        """
        outdated = {service: old for service in TOPOLOGY if (old := self._find_outdated(service))}
        if not outdated:
            return
        for job in ("databases", *(f"{service}-migrations" for service in outdated)):
            self._compose("run", "--rm", "--no-deps", job)
        for service, old in outdated.items():
            self._replace(service, old)

    def list_targets(self) -> list[str]:
        """Returns the services for `docker compose up`: all, except for a running gateway whose files are the same.

        The labels of its image contain the revision, so that its image differs in each. The port of the gateway is
        closed while its container is replaced.
        """
        return [name for name in self._config if name != _GATEWAY or not self._is_gateway_current()]

    def restart_gateway(self) -> None:
        """Restarts a gateway whose certificate has changed. Its port is closed meanwhile. Raises StartError."""
        if any(self._has_old_certificate(one) for one in self._list_running(_GATEWAY)):
            self._compose("restart", _GATEWAY)

    def _is_gateway_current(self) -> bool:
        running = self._list_running(_GATEWAY)
        if not running or self._is_reconfigured(_GATEWAY, running[0]):
            return False
        used, built = _inspect("image", running[0]["Image"], self._config[_GATEWAY]["image"])
        return _describe_content(used) == _describe_content(built)

    def _find_outdated(self, service: str) -> list[str]:
        """Returns the ids of the running containers of a service if one of them is outdated."""
        running = self._list_running(service)
        [image] = _inspect("image", self._config[service]["image"])
        is_outdated = any(
            one["Image"] != image["Id"] or self._is_reconfigured(service, one) or self._has_old_certificate(one)
            for one in running
        )
        return [one["Id"] for one in running] if is_outdated else []

    def _has_old_certificate(self, container: _Description) -> bool:
        return engine.parse_time(container["State"]["StartedAt"]) < self._certified

    def _is_reconfigured(self, service: str, container: _Description) -> bool:
        return bool(container["Config"]["Labels"]["com.docker.compose.config-hash"] != self._hashes[service])

    def _replace(self, service: str, old: Collection[str]) -> None:
        scale = f"{service}={len(old) + self._workers}"
        self._compose("up", "--detach", "--no-build", "--no-deps", "--no-recreate", "--scale", scale, service)
        new = {one["Id"] for one in self._list_running(service)}.difference(old)
        if not _wait_until_healthy(new, self._workers):
            logs = "\n".join(line for container in new for line in engine.read_log(container, since="10m")[-20:])
            if new:
                engine.read("rm", "--force", *new)
            raise StartError(
                f"The new containers of {service} did not become healthy and were removed. "
                f"The previous ones continue to run. The last lines of the new ones:\n{logs}"
            )
        engine.read("stop", *old)
        engine.read("rm", *old)

    def _list_running(self, service: str) -> list[_Description]:
        return _inspect("container", *self._read("ps", "--quiet", service).split())

    def _compose(self, *arguments: str) -> None:
        engine.compose(*arguments, environment=self._environment)

    def _read(self, *arguments: str) -> str:
        return engine.read_compose(*arguments, environment=self._environment)


def _inspect(kind: str, *names: str) -> list[_Description]:
    found: list[_Description] = json.loads(engine.read(kind, "inspect", *names)) if names else []
    return found


def _describe_content(image: _Description) -> object:
    """Returns the files and the configuration of an image, without its labels."""
    return image["RootFS"], {name: value for name, value in image["Config"].items() if name != "Labels"}


def _wait_until_healthy(containers: Collection[str], count: int) -> bool:
    """Returns whether the containers become healthy in time, and their number is right."""
    limit = time.monotonic() + _HEALTHY_SECONDS
    while len(containers) == count and time.monotonic() < limit:
        found = _inspect("container", *containers)
        if any(one["RestartCount"] >= _RESTARTS for one in found):
            return False
        if all(one["State"]["Health"]["Status"] == "healthy" for one in found):
            return True
        time.sleep(_POLL_SECONDS)
    return False
