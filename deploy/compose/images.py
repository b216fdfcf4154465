"""Tells how large the images are, and how soon after its start each running service serves."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deploy.compose import engine
from deploy.errors import StartError

_PYTHON, _ENVOY = "python:3.12-slim-bookworm", "envoyproxy/envoy:v1.40.0"
_MB = 1_000_000


def report(told: Mapping[str, str]) -> str:
    """Returns a table of our images. Raises StartError."""
    config = json.loads(engine.said_by_compose("config", "--format", "json", environment=told))
    lines = [f"{'image':<28}{'MB':>8}{'beyond its base':>18}{'ready after':>14}"]
    for name, service in config["services"].items():
        if "build" in service:
            size = _size(service["image"])
            beyond = size - _size(_ENVOY if name == "envoy" else _PYTHON)
            lines.append(f"{service['image']:<28}{size:>8.0f}{beyond:>18.0f}{_ready_after(name, told):>14}")
    return "\n".join(lines)


def missing() -> str:
    """Pulls absent base images. Returns one sentence that names an image that cannot be pulled; empty if none."""
    config = json.loads(engine.said_by_compose("config", "--format", "json"))
    used = {service["image"] for service in config["services"].values()}
    for image in sorted({_PYTHON, _ENVOY, *(image for image in used if not image.startswith("pulsetrack/"))}):
        if not engine.has_image(image):
            try:
                engine.said("pull", "--quiet", image)
            except StartError as error:
                return f"The image {image} is not on this machine and cannot be pulled. {error}"
    return ""


def _size(image: str) -> float:
    return float(engine.said("image", "inspect", "--format", "{{.Size}}", image)) / _MB


def _ready_after(service: str, told: Mapping[str, str]) -> str:
    """Returns the time from the start of a service's first container to its word that it serves; "" if unknown."""
    containers = engine.said_by_compose("ps", "--quiet", service, environment=told).split()
    for container in containers[:1]:
        started = engine.said("inspect", "--format", "{{.State.StartedAt}}", container).strip()
        for line in engine.logged(container, since=started):
            entry: dict[str, Any] = json.loads(line) if line.startswith('{"level"') else {}
            if entry.get("message") == "serving":
                return f"{(_time(entry['time']) - _time(started)).total_seconds():.1f} s"
    return ""


def _time(text: str) -> datetime:
    """Reads a time of UTC, to the microsecond: the engine's has more digits."""
    return datetime.fromisoformat(f"{text[:26].rstrip('Z')}+00:00")
