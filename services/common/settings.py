"""Settings from the environment: one frozen class for each service, read once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta

PREFIX = "PULSETRACK_"


class SettingsError(Exception):
    """Occurs when the environment lacks a setting or holds one that makes no sense."""


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the database is.

    A field `name` is read from PULSETRACK_NAME, or from the file that PULSETRACK_NAME_FILE names, the way for a secret.
    """

    database_url: Annotated[
        str, Meta(description="The service's own database: postgresql://user:password@host:port/name.")
    ]

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Reads the settings. Raises SettingsError."""
        if (authorities := environment.get("PGSSLROOTCERT")) and not Path(authorities).is_file():
            raise SettingsError(f"PGSSLROOTCERT: there is no file {authorities}")
        values = {}
        for field in msgspec.structs.fields(cls):
            name = PREFIX + field.name.upper()
            if path := environment.get(f"{name}_FILE"):
                values[field.name] = _content(f"{name}_FILE", path)
            elif name in environment:
                values[field.name] = environment[name]
        try:
            return msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"A setting (the name stands for {PREFIX}NAME) is wrong: {error}") from None


class Settings(DatabaseSettings, frozen=True, kw_only=True):
    """What every service is told."""

    listen: Annotated[str, Meta(description="Where the service listens: host:port.")]
    database_connections: Annotated[int, Meta(ge=2, description="How many connections to the database at most.")] = 10
    reflection: Annotated[Literal["on", "off"], Meta(description="Whether gRPC reflection answers.")] = "on"
    log_level: Annotated[LogLevel, Meta(description="The least level logged.")] = "INFO"
    people_per_second: Annotated[
        int,
        Meta(
            ge=0,
            description="How many people's data each user may read by lists a second, on average over 20 s; 0 for any.",
        ),
    ] = 1000
    slow_call_ms: Annotated[int, Meta(ge=1, description="A call that takes longer, in milliseconds, is logged.")] = 1000
    concurrent_calls: Annotated[int, Meta(ge=1, description="Calls under way at once; more are refused.")] = 200
    concurrent_streams: Annotated[int, Meta(ge=1, description="Streams open at once; more are refused.")] = 2000
    streams_per_user: Annotated[int, Meta(ge=1, description="Streams that one user may have open at once.")] = 50
    streams_per_address: Annotated[
        int, Meta(ge=1, description="Streams that one client address, as the gateway sees it, may have open at once.")
    ] = 1000
    stream_write_seconds: Annotated[
        float, Meta(gt=0, description="A stream whose reader takes longer for an answer is ended.")
    ] = 10
    linger_seconds: Annotated[
        int, Meta(ge=0, description="How long after SIGTERM new calls are still taken, so that callers can turn away.")
    ] = 0
    drain_seconds: Annotated[int, Meta(ge=0, description="How long calls may go on after that.")] = 5
    otlp_endpoint: Annotated[
        str,
        Meta(
            pattern=r"^([^\s/:]+:\d+)?$",
            description="Where spans and metrics are sent by OTLP/gRPC: host:port; nowhere if it is empty.",
        ),
    ] = ""


class SettingsWithAuth(Settings, frozen=True, kw_only=True):
    """What a service is told that verifies tokens by auth's public keys."""

    auth: Annotated[str, Meta(description="Where the auth service listens: host:port, several by commas.")]


KafkaServers = Annotated[
    str,
    Meta(
        pattern=r"\A(ssl://)?[^/]+\Z",
        description="Kafka's bootstrap servers: host:port, separated by commas; after ssl:// if by TLS.",
    ),
]


def _content(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name} cannot be read: {error}") from None
