"""Settings from environment variables: one frozen class per service, read once at start-up."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote

import msgspec
from msgspec import Meta

PREFIX = "PULSETRACK_"


class SettingsError(Exception):
    """Raised when a setting is missing or invalid."""


Switch = Literal["on", "off"]
PatientAddresses = Annotated[str, Meta(description="Addresses of the patient service: host:port, comma-separated.")]
"""The setting `patient` of a service that asks the patient service who may see restricted patients."""

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The database connection.

    A field `name` is read from PULSETRACK_NAME. For a secret, PULSETRACK_NAME_FILE can name a file with the value. The
    file takes precedence.
    """

    database_url: Annotated[
        str, Meta(description="URL of the service's database: postgresql://user:password@host:port/name.")
    ]

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Reads the settings from environment variables. Raises SettingsError."""
        if (authorities := environment.get("PGSSLROOTCERT")) and not Path(authorities).is_file():
            raise SettingsError(f"PGSSLROOTCERT: the file {authorities} does not exist")
        values = {}
        for field in msgspec.structs.fields(cls):
            name = PREFIX + field.name.upper()
            if path := environment.get(f"{name}_FILE"):
                values[field.name] = _read_file(f"{name}_FILE", path)
            elif name in environment:
                values[field.name] = environment[name]
        try:
            return msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"A setting is invalid or missing (`name` stands for {PREFIX}NAME): {error}") from None


class PooledDatabaseSettings(DatabaseSettings, frozen=True, kw_only=True):
    """The database connections of a program that may connect through PgBouncer."""

    database_connections: Annotated[int, Meta(ge=2, description="Maximum size of the database connection pool.")] = 10
    prepared_statements: Annotated[
        Switch, Meta(description="Caches prepared statements; `off` for PgBouncer in transaction mode.")
    ] = "on"


class Settings(PooledDatabaseSettings, frozen=True, kw_only=True):
    """The settings of every service."""

    listen: Annotated[str, Meta(description="Address that the service listens on: host:port.")]
    tls_certificate: Annotated[
        str,
        Meta(
            description="Certificate of the service in PEM format, with the service's name as DNS name. Clients then "
            "need a certificate too. If empty, the service neither offers nor uses TLS."
        ),
    ] = ""
    tls_key: Annotated[str, Meta(description="Private key of the certificate in PEM format.")] = ""
    tls_ca: Annotated[
        str, Meta(description="Certificates of the authorities of the gateway and the services in PEM format.")
    ] = ""
    reflection: Annotated[Switch, Meta(description="Enables gRPC server reflection.")] = "on"
    log_level: Annotated[LogLevel, Meta(description="Minimum level of log records.")] = "INFO"
    people_per_second: Annotated[
        int,
        Meta(
            ge=0,
            description="Patients or users that each caller may list per second, averaged over 20 s; 0 means no limit.",
        ),
    ] = 1000
    slow_call_ms: Annotated[
        int, Meta(ge=1, description="Duration in milliseconds above which a call is logged as slow.")
    ] = 1000
    concurrent_calls: Annotated[
        int, Meta(ge=1, description="Maximum number of concurrent unary calls; further calls are rejected.")
    ] = 200
    concurrent_streams: Annotated[
        int, Meta(ge=1, description="Maximum number of open streams; further streams are rejected.")
    ] = 2000
    streams_per_user: Annotated[int, Meta(ge=1, description="Maximum number of open streams per user.")] = 50
    streams_per_address: Annotated[
        int, Meta(ge=1, description="Maximum number of open streams per client address, as reported by the gateway.")
    ] = 1000
    stream_write_seconds: Annotated[
        float,
        Meta(gt=0, description="Time that a client has to read a message of a stream before the stream is closed."),
    ] = 10
    connection_age_seconds: Annotated[
        int,
        Meta(
            ge=1,
            description="Age at which the server asks a client to reconnect, so that calls reach added processes.",
        ),
    ] = 60
    linger_seconds: Annotated[
        int,
        Meta(
            ge=0,
            description="Time after SIGTERM in which new calls are still accepted, until clients notice the shutdown.",
        ),
    ] = 0
    drain_seconds: Annotated[int, Meta(ge=0, description="Additional time for calls in flight to finish.")] = 5
    otlp_endpoint: Annotated[
        str,
        Meta(
            pattern=r"^([^\s/:]+:\d+)?$",
            description="OTLP/gRPC receiver of spans and metrics: host:port. If empty, nothing is exported.",
        ),
    ] = ""


class SettingsWithAuth(Settings, frozen=True, kw_only=True):
    """The settings of a service that verifies tokens with the public keys of auth."""

    auth: Annotated[str, Meta(description="Addresses of the auth service: host:port, comma-separated.")]


class SettingsWithKafka(SettingsWithAuth, frozen=True, kw_only=True):
    """The settings of a service that writes or reads events."""

    kafka: Annotated[
        str,
        Meta(
            pattern=r"\A(ssl://|sasl_(plaintext|ssl)://[^/:@]+(:[^/@]+)?@)?[^/@]+\Z",
            description=(
                "Kafka bootstrap servers: host:port, comma-separated; with the prefix ssl:// for TLS, or "
                "sasl_plaintext://user:password@ or sasl_ssl://user:password@ for SCRAM-SHA-512 without or with TLS."
            ),
        ),
    ]
    kafka_password: Annotated[
        str, Meta(description="Password of the Kafka user, if PULSETRACK_KAFKA contains only the name.")
    ] = ""

    def kafka_servers(self) -> str:
        """Returns Kafka's servers, with the password if they require one. Raises SettingsError."""
        credentials, at, servers = self.kafka.rpartition("@")
        if not at or ":" in credentials.partition("://")[2]:
            return self.kafka
        if not self.kafka_password:
            raise SettingsError("PULSETRACK_KAFKA contains a user without a password. Set PULSETRACK_KAFKA_PASSWORD.")
        return f"{credentials}:{quote(self.kafka_password, safe='')}@{servers}"


def _read_file(name: str, path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name} cannot be read: {error}") from None
    if not text:  # a secret that is missing must not turn a protection off
        raise SettingsError(f"{name} names an empty file: {path}")
    return text
