"""The settings of a local system or a Compose deployment, from environment variables. All of them are optional."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.errors import StartError
from deploy.topology import NO_MAIL
from envoy.target import ExternalIssuer, parse_origins

EMBEDDED = "embedded"

HOST = "127.0.0.1"
"""The loopback address, where a local system listens."""

_PASSWORD_LENGTHS = (8, 128)
"""The minimum and the maximum, as in auth.proto."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of an instance, from the variables PULSETRACK_*."""

    gateway_port: int = 8080
    data_dir: Path = Path(".pulsetrack")
    admin_email: str = "admin@pulsetrack.local"
    admin_password: str | None = None
    """Generated if None."""
    kafka: str = EMBEDDED
    """`embedded`, or the bootstrap address of a running broker."""
    database_url: str = EMBEDDED
    """`embedded`, or the URL of a running server, with a role that can create databases and roles."""
    workers: int = 1
    """The number of processes per service."""
    sign_up: str = "open"
    """Who can sign up: `open`, `invite` or `closed`. Compose and AWS default to `invite`."""
    admin_second_factor: str = "optional"
    """Whether admins need a second factor: `optional` or `required`."""
    smtp_url: str | None = None
    """The mail server, with its password, or `off`. If None, Compose keeps the previous one."""
    verified_email: str = "optional"
    """Whether users need a verified email address to log in: `optional` or `required`."""
    external_issuer: ExternalIssuer | None = None
    """The issuer whose tokens the gateway accepts too. Auth checks the settings of it."""
    reflection: bool = True
    rate_limits: bool = True
    trusted_proxies: int = 0
    """The number of proxies in front of the gateway."""
    cors_origins: tuple[str, ...] = ()
    """The origins, in addition to the gateway's own, whose pages can call the API."""
    access_event_retention_days: int = 0
    """How long access events stay in the databases, before they are moved to archives. 0 means forever."""
    otlp_endpoint: str = ""
    """The receiver of spans and metrics, `host:port`. If empty, none are sent."""
    trace_sample: int = 100
    """The percentage of calls that are traced if there is a receiver."""

    @property
    def sends_mail(self) -> bool:
        """Whether these settings name a mail server."""
        return self.smtp_url not in {None, NO_MAIL}

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Reads the settings. Raises StartError if a value is invalid."""

        def read(name: str, default: str) -> str:
            return environment.get(f"PULSETRACK_{name}") or default

        password = read("ADMIN_PASSWORD", "") or None
        if password and not _PASSWORD_LENGTHS[0] <= len(password) <= _PASSWORD_LENGTHS[1]:
            raise StartError("PULSETRACK_ADMIN_PASSWORD must have {} to {} characters.".format(*_PASSWORD_LENGTHS))
        return cls(
            gateway_port=_number("PULSETRACK_GATEWAY_PORT", read("GATEWAY_PORT", "8080"), most=65535),
            data_dir=Path(read("DATA_DIR", ".pulsetrack")).expanduser().resolve(),
            admin_email=read("ADMIN_EMAIL", cls.admin_email),
            admin_password=password,
            kafka=read("KAFKA", EMBEDDED),
            database_url=read("DATABASE_URL", EMBEDDED),
            workers=_number("PULSETRACK_WORKERS", read("WORKERS", "1"), most=64),
            sign_up=_choice("PULSETRACK_SIGN_UP", read("SIGN_UP", "open"), "open", "invite", "closed"),
            admin_second_factor=_choice(
                "PULSETRACK_ADMIN_SECOND_FACTOR", read("ADMIN_SECOND_FACTOR", "optional"), "optional", "required"
            ),
            smtp_url=read("SMTP_URL", "") or None,
            verified_email=_choice(
                "PULSETRACK_VERIFIED_EMAIL", read("VERIFIED_EMAIL", "optional"), "optional", "required"
            ),
            external_issuer=_external_issuer(read("OIDC_ISSUER", ""), read("OIDC_AUDIENCE", "")),
            reflection=_switch("PULSETRACK_REFLECTION", read("REFLECTION", "on")),
            rate_limits=_switch("PULSETRACK_RATE_LIMITS", read("RATE_LIMITS", "on")),
            trusted_proxies=_number("PULSETRACK_TRUSTED_PROXIES", read("TRUSTED_PROXIES", "0"), most=8, least=0),
            cors_origins=_origins("PULSETRACK_CORS_ORIGINS", read("CORS_ORIGINS", "")),
            access_event_retention_days=_number(
                "PULSETRACK_ACCESS_EVENT_RETENTION_DAYS", read("ACCESS_EVENT_RETENTION_DAYS", "0"), most=36500, least=0
            ),
            otlp_endpoint=_address("PULSETRACK_OTLP_ENDPOINT", read("OTLP_ENDPOINT", "")),
            trace_sample=_number("PULSETRACK_TRACE_SAMPLE", read("TRACE_SAMPLE", "100"), most=100, least=0),
        )

    def warnings(self, *, sends_mail: bool) -> list[str]:
        """Returns a warning for each setting that disables a protection. Takes whether a mail server is configured."""
        lines = []
        if self.sign_up == "open":
            lines.append(
                "Sign-up is open: anyone who can reach the gateway can create a user and read every patient that is "
                "not restricted. With PULSETRACK_SIGN_UP=invite, users need an invitation of an admin"
            )
        if not sends_mail:
            lines.append(
                "No mail is sent: users need an admin to reset a forgotten password, and get no notice of changes to "
                "their account. PULSETRACK_SMTP_URL names a mail server"
            )
        if not self.rate_limits:
            lines.append("PULSETRACK_RATE_LIMITS is off: call rates are not limited. Use this for load tests only")
        return lines


def _number(name: str, text: str, *, most: int, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise StartError(f"{name} must be a number from {least} to {most}, not {text!r}.")
    return int(text)


def _external_issuer(url: str, audience: str) -> ExternalIssuer | None:
    return ExternalIssuer(url, audience) if url else None


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
    return _choice(name, text, "on", "off") == "on"


def _choice(name: str, text: str, *choices: str) -> str:
    if text not in choices:
        raise StartError(f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}, not {text!r}.")
    return text
