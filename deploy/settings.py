"""What `make up` is told by its environment; every variable is optional."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.errors import StartError
from envoy.target import parse_origins

EMBEDDED = "embedded"

HOST = "127.0.0.1"
"""The loopback address, where a local system listens."""

_PASSWORD_LENGTHS = (8, 128)
"""The least and the most, as in auth.proto."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one copy, from the variables PULSETRACK_*."""

    gateway_port: int = 8080
    data_dir: Path = Path(".pulsetrack")
    admin_email: str = "admin@pulsetrack.local"
    admin_password: str | None = None
    """Generated if None."""
    kafka: str = EMBEDDED
    """`embedded`, or the bootstrap address of a broker that runs already."""
    database_url: str = EMBEDDED
    """`embedded`, or the URL of a server that runs already, as a user who may create databases and roles."""
    workers: int = 1
    """Processes for each service."""
    open_sign_up: bool = True
    """Whether any visitor may create a user. `make compose` and AWS leave that to admins unless told otherwise."""
    reflection: bool = True
    rate_limits: bool = True
    trusted_proxies: int = 0
    """How many proxies stand before the gateway."""
    cors_origins: tuple[str, ...] = ()
    """The origins, other than the gateway's own, whose pages may call."""
    otlp_endpoint: str = ""
    """Where spans and metrics are sent, `host:port`; nowhere if empty."""
    trace_sample: int = 100
    """How many of a hundred calls are traced, if spans are sent anywhere."""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Reads the settings. Raises StartError for a value that makes no sense."""

        def said(name: str, default: str) -> str:
            return environment.get(f"PULSETRACK_{name}") or default

        password = said("ADMIN_PASSWORD", "") or None
        if password and not _PASSWORD_LENGTHS[0] <= len(password) <= _PASSWORD_LENGTHS[1]:
            raise StartError("PULSETRACK_ADMIN_PASSWORD must have {} to {} characters.".format(*_PASSWORD_LENGTHS))
        return cls(
            gateway_port=_number("PULSETRACK_GATEWAY_PORT", said("GATEWAY_PORT", "8080"), most=65535),
            data_dir=Path(said("DATA_DIR", ".pulsetrack")).expanduser().resolve(),
            admin_email=said("ADMIN_EMAIL", cls.admin_email),
            admin_password=password,
            kafka=said("KAFKA", EMBEDDED),
            database_url=said("DATABASE_URL", EMBEDDED),
            workers=_number("PULSETRACK_WORKERS", said("WORKERS", "1"), most=64),
            open_sign_up=_choice("PULSETRACK_SIGN_UP", said("SIGN_UP", "open"), "open", "closed"),
            reflection=_switch("PULSETRACK_REFLECTION", said("REFLECTION", "on")),
            rate_limits=_switch("PULSETRACK_RATE_LIMITS", said("RATE_LIMITS", "on")),
            trusted_proxies=_number("PULSETRACK_TRUSTED_PROXIES", said("TRUSTED_PROXIES", "0"), most=8, least=0),
            cors_origins=_origins("PULSETRACK_CORS_ORIGINS", said("CORS_ORIGINS", "")),
            otlp_endpoint=_address("PULSETRACK_OTLP_ENDPOINT", said("OTLP_ENDPOINT", "")),
            trace_sample=_number("PULSETRACK_TRACE_SAMPLE", said("TRACE_SAMPLE", "100"), most=100, least=0),
        )

    def remarks(self) -> list[str]:
        """Returns a line for each setting that takes a protection away, to be shown at start."""
        lines = []
        if self.open_sign_up:
            lines.append(
                "Sign-up is open: anyone who reaches the gateway can create a user and read every patient; "
                "PULSETRACK_SIGN_UP=closed leaves the creation of users to admins"
            )
        if not self.rate_limits:
            lines.append("PULSETRACK_RATE_LIMITS is off: calls are not limited, which is for load tests only")
        return lines


def _number(name: str, text: str, *, most: int, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise StartError(f"{name} must be a number from {least} to {most}, not {text!r}.")
    return int(text)


def _origins(name: str, text: str) -> tuple[str, ...]:
    try:
        return parse_origins(text)
    except ValueError as error:
        raise StartError(f"{name}: {error}.") from None


def _address(name: str, text: str) -> str:
    host, _, port = text.rpartition(":")
    if text and not (host and ":" not in host and port.isascii() and port.isdigit()):
        raise StartError(f"{name} must be host:port, not {text!r}.")
    return text


def _switch(name: str, text: str) -> bool:
    return _choice(name, text, "on", "off")


def _choice(name: str, text: str, yes: str, no: str) -> bool:
    if text not in {yes, no}:
        raise StartError(f"{name} must be {yes} or {no}, not {text!r}.")
    return text == yes
