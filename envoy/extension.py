"""Helpers for Envoy's typed extension configuration."""

from typing import Any

Config = dict[str, Any]
"""A configuration message in proto3 JSON form."""


def to_any(message: str, **fields: object) -> Config:
    """Returns a message as an Any. The type name is relative to envoy.extensions unless it starts with `envoy.`."""
    name = message if message.startswith("envoy.") else f"envoy.extensions.{message}"
    return {"@type": f"type.googleapis.com/{name}", **fields}


def extension(name: str, message: str, **fields: object) -> Config:
    """Returns a named extension and its typed configuration."""
    return {"name": name, "typed_config": to_any(message, **fields)}
