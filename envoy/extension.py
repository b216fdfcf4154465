"""The one shape in which Envoy takes the configuration of its extensions."""

from typing import Any

Config = dict[str, Any]
"""A part of the configuration: a message in proto3 JSON form."""


def typed(message: str, **fields: object) -> Config:
    """Returns a message in an Any. The name is relative to envoy.extensions unless it starts with `envoy.`."""
    name = message if message.startswith("envoy.") else f"envoy.extensions.{message}"
    return {"@type": f"type.googleapis.com/{name}", **fields}


def extension(name: str, message: str, **fields: object) -> Config:
    """Returns a named extension with its configuration."""
    return {"name": name, "typed_config": typed(message, **fields)}
