"""The containers of task definitions."""

from typing import Any


def read_environment(container: dict[str, Any]) -> dict[str, Any]:
    """Returns the variables of a container."""
    return {variable["Name"]: variable["Value"] for variable in container.get("Environment", [])}
