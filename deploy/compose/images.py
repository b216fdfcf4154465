"""Reports the sizes of the images and the start-up times of the running services."""

import json
import os
from collections.abc import Mapping
from typing import Any

from deploy.compose import engine
from deploy.errors import StartError

_PYTHON, _ENVOY = "python:3.12-slim-bookworm", "envoyproxy/envoy:v1.40.0"
_MB = 1_000_000

CLOUD = "cloud"
"""The profile of the images that only deployments on AWS use."""


def report(environment: Mapping[str, str]) -> str:
    """Returns a table of the images that are built here. Raises StartError."""
    config = json.loads(engine.read_compose("config", "--format", "json", environment=environment))
    lines = [f"{'image':<28}{'MB':>8}{'beyond its base':>18}{'ready after':>14}"]
    for name, service in config["services"].items():
        if "build" in service:
            size = _read_size(service["image"])
            beyond = size - _read_size(_ENVOY if name == "envoy" else _PYTHON)
            lines.append(f"{service['image']:<28}{size:>8.0f}{beyond:>18.0f}{_read_ready_time(name, environment):>14}")
    return "\n".join(lines)


def pull_missing() -> str:
    """Pulls missing base images. Returns an error that names an image that cannot be pulled. Empty if there is none."""
    config = json.loads(
        engine.read_compose("config", "--format", "json", environment={**os.environ, "COMPOSE_PROFILES": CLOUD})
    )
    used = {service["image"] for service in config["services"].values()}
    for image in sorted({_PYTHON, _ENVOY, *(image for image in used if not image.startswith("pulsetrack/"))}):
        if not engine.has_image(image):
            try:
                engine.read("pull", "--quiet", image)
            except StartError as error:
                return f"The image {image} is missing and cannot be pulled. {error}"
    return ""


def _read_size(image: str) -> float:
    return float(engine.read("image", "inspect", "--format", "{{.Size}}", image)) / _MB


def _read_ready_time(service: str, environment: Mapping[str, str]) -> str:
    """Returns the time from the start of a service's first container to its "serving" log entry. Empty if unknown."""
    containers = engine.read_compose("ps", "--quiet", service, environment=environment).split()
    for container in containers[:1]:
        started = engine.read("inspect", "--format", "{{.State.StartedAt}}", container).strip()
        for line in engine.read_log(container, since=started):
            entry: dict[str, Any] = json.loads(line) if line.startswith('{"level"') else {}
            if entry.get("message") == "serving":
                seconds = (engine.parse_time(entry["time"]) - engine.parse_time(started)).total_seconds()
                return f"{seconds:.1f} s"
    return ""
