"""The topology of PulseTrack: the services, what each needs, and where its settings come from.

The local system (tools/local) and the AWS stacks (infrastructure/) are wired from this table. docker-compose.yml is
written by hand, and a test compares it with the table. This module imports no other PulseTrack module.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

GATEWAY = "gateway"

GATEWAY_PORT = 8080
SERVICE_PORT = 50051
POSTGRES_PORT = 5432
KAFKA_PORT = 9092
OTLP_PORT = 4317

COLLECTOR = "collector"
"""The OpenTelemetry collector, which receives traces and metrics of the services and traces of the gateway."""

MIGRATIONS = "services.common.postgres.migrate"
"""The module that migrates the database of the service given as its argument."""
RETENTION = "services.common.audit.retain"
"""The module that moves the old access events of the service given as its argument to archives."""
SMTP_URL = "smtp-url"
"""The secret with the URL of the mail server, or NO_MAIL."""
NO_MAIL = "off"
ARCHIVE_KEY = "audit-archive-key"
"""The secret that signs the archives. It exists only if access events are moved to archives."""
PROBE = ("python", "-I", "-S", "deploy/probe.py")
"""The health check of a service's container."""

KAFKA = "PULSETRACK_KAFKA"
"""The setting with Kafka's servers, and the credentials if they require them."""
KAFKA_PASSWORD = "PULSETRACK_KAFKA_PASSWORD"  # noqa: S105 - a variable's name
"""The setting with the password of the Kafka user, if it is not part of the previous one."""
CLIENT_SECRET = "PULSETRACK_SERVICE_SECRET"  # noqa: S105 - a variable's name
"""The setting of services that request service tokens from auth."""
CLIENT_SECRETS = "client-secrets"
"""The secret with all client secrets, a JSON object by service name. It is derived from the others."""


TLS_AUTHORITIES = "tls-authorities"
"""The secret with the certificates of the authorities that the gateway and the services trust."""


class DatabaseSecrets(NamedTuple):
    """The names of the secrets of a service's database."""

    url: str
    password: str
    owner_url: str
    owner_password: str


class KafkaSecrets(NamedTuple):
    """The names of the secrets with which a service authenticates to Kafka."""

    url: str
    password: str


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service. Each service has its own Postgres database, and the gateway routes calls to it."""

    name: str
    port: int = SERVICE_PORT
    """The port in its container. Local processes listen on free ports."""
    calls: tuple[str, ...] = ()
    """The services that it calls."""
    uses_kafka: bool = False
    sends_mail: bool = False
    """Whether it connects to a mail server."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """The secrets it reads in addition to its database URL: their names, by setting."""
    settings: tuple[str, ...] = ()
    """The settings that no other service has, apart from secrets and addresses. The operator chooses their values."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Other environment variables of its processes. Its image sets them."""

    @property
    def database_secrets(self) -> DatabaseSecrets:
        """The names of the secrets of its database."""
        names = ("database-url", "database-password", "owner-database-url", "owner-database-password")
        return DatabaseSecrets(*(f"{self.name}-{name}" for name in names))

    @property
    def job_passwords(self) -> tuple[str, str]:
        """The settings of the databases job that hold the passwords of the service's role and of the owner."""
        prefix = f"PULSETRACK_{self.name.upper()}"
        return f"{prefix}_PASSWORD", f"{prefix}_OWNER_PASSWORD"

    @property
    def kafka_secrets(self) -> KafkaSecrets:
        """The names of the secrets of its Kafka user, whose name is that of the service."""
        return KafkaSecrets(f"{self.name}-kafka-url", f"{self.name}-kafka-password")

    def addresses(self, address_of: Callable[[str], str], kafka: str = "") -> dict[str, str]:
        """Returns the settings with the addresses of the services that it calls and, if given, of Kafka."""
        addresses = {f"PULSETRACK_{called.upper()}": address_of(called) for called in self.calls}
        return addresses | ({KAFKA: kafka} if kafka and self.uses_kafka else {})


TOPOLOGY: Mapping[str, Service] = {
    service.name: service
    for service in (
        Service(
            name="auth",
            # Returns a freed block of this size, such as the 19 MiB of each argon2 hash, to the operating system. Large
            # pages save thousands of page faults in each hash.
            variables={"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1048576:glibc.malloc.hugetlb=1"},
            secrets={
                "PULSETRACK_SERVICE_SECRETS": CLIENT_SECRETS,
                "PULSETRACK_KEY_PASSPHRASE": "key-passphrase",
                "PULSETRACK_ADMIN_PASSWORD": "admin-password",
                "PULSETRACK_SMTP_URL": SMTP_URL,
            },
            sends_mail=True,
            settings=(
                "PULSETRACK_SIGN_UP",
                "PULSETRACK_ADMIN_SECOND_FACTOR",
                "PULSETRACK_ADMIN_EMAIL",
                "PULSETRACK_OIDC_ISSUER",
                "PULSETRACK_OIDC_AUDIENCE",
                "PULSETRACK_OIDC_ROLE_CLAIM",
                "PULSETRACK_OIDC_ADMIN_VALUES",
                "PULSETRACK_OIDC_USER_VALUES",
                "PULSETRACK_MAIL_FROM",
                "PULSETRACK_PUBLIC_URL",
                "PULSETRACK_VERIFIED_EMAIL",
                "PULSETRACK_BREACHED_PASSWORDS",
                "PULSETRACK_ACCESS_TOKEN_SECONDS",
                "PULSETRACK_REFRESH_TOKEN_SECONDS",
                "PULSETRACK_SERVICE_TOKEN_SECONDS",
            ),
        ),
        Service(
            name="patient",
            calls=("auth", "billing"),
            uses_kafka=True,
            secrets={CLIENT_SECRET: "patient-client-secret"},
            settings=(
                "PULSETRACK_WATCH_HEARTBEAT_SECONDS",
                "PULSETRACK_OUTBOX_RETENTION_DAYS",
                "PULSETRACK_ERASURE_DELAY_DAYS",
                "PULSETRACK_CONCURRENT_SEARCHES",
            ),
        ),
        Service(name="billing", calls=("auth", "patient")),
        Service(
            name="analytics",
            calls=("auth", "patient"),
            uses_kafka=True,
            settings=("PULSETRACK_EVENT_RETENTION_DAYS", "PULSETRACK_CONSUMER_ID"),
        ),
    )
}
"""The services by name, in the order in which they start."""

CLIENTS: Mapping[str, str] = {
    name: service.secrets[CLIENT_SECRET] for name, service in TOPOLOGY.items() if CLIENT_SECRET in service.secrets
}
"""The name of each client secret, by the service that authenticates with it."""


OPERATOR = "pulsetrack_operator"
"""The database role that monitors the server and ends sessions. It can read no tables of the services."""

BACKUP = "pulsetrack_backup"
"""The database role that reads all tables of all services, for backups."""

OPERATOR_PASSWORD = "PULSETRACK_OPERATOR_PASSWORD"  # noqa: S105 - a variable's name
BACKUP_PASSWORD = "PULSETRACK_BACKUP_PASSWORD"  # noqa: S105 - as above
"""The settings of the databases job that hold the passwords of these roles."""

CERTIFICATE_NAMES = (GATEWAY, *TOPOLOGY)
"""The names in the certificates with which the gateway and the services authenticate to each other."""


class TlsSecrets(NamedTuple):
    """The secrets with which the gateway or a service authenticates to the others, or the settings that hold them."""

    certificate: str
    key: str
    authorities: str


TLS_SETTINGS = TlsSecrets("PULSETRACK_TLS_CERTIFICATE", "PULSETRACK_TLS_KEY", "PULSETRACK_TLS_CA")


def tls_secrets(name: str) -> TlsSecrets:
    """Returns the names of the secrets of the gateway or of a service."""
    return TlsSecrets(f"{name}-certificate", f"{name}-certificate-key", TLS_AUTHORITIES)


def tls_files(certificates: Mapping[str, Any]) -> dict[str, str]:
    """Returns the secrets by name, from the JSON that deploy.certificates writes."""
    files = {TLS_AUTHORITIES: "".join(each["certificate"] for each in certificates["authorities"])}
    for name, issued in certificates["issued"].items():
        secrets = tls_secrets(name)
        files |= {secrets.certificate: issued["certificate"], secrets.key: issued["key"]}
    return files


def count_connections(per_process: int, workers: int) -> int:
    """Returns how many connections Postgres must accept.

    During an upgrade, one service has both its previous and its new processes. Jobs and operators share another 50.
    """
    return 50 + per_process * workers * (len(TOPOLOGY) + 1)


def database_name(service: str) -> str:
    """Returns the name of a service's database. The role that the service connects as has the same name."""
    return f"pulsetrack_{service}"


def owner_name(service: str) -> str:
    """Returns the name of the role that owns a service's database and its tables."""
    return f"{database_name(service)}_owner"
