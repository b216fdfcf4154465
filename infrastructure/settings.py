"""What an environment is told: the sizes of its parts, and what may happen to its data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

GATEWAY = "gateway"
SERVICES = ("auth", "patient", "billing", "analytics")
USES_KAFKA = frozenset({"patient", "analytics"})

GATEWAY_PORT = 8080
SERVICE_PORT = 50051
POSTGRES_PORT = 5432
HTTPS_PORT = 443

NAMESPACE = "pulsetrack.internal"
"""The zone of private names: a service answers at `<service>.pulsetrack.internal`."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How many tasks of a service there are, and how large each is."""

    least: int
    most: int
    cpu: int = 256
    """In 1/1024 of a processor; Fargate takes 256, 512, 1024 and so on."""
    memory_mib: int = 512


@dataclass(frozen=True, kw_only=True)
class DatabaseSize:
    """The Postgres server. Its storage grows by itself up to four times the first size."""

    instance: str
    storage_gib: int
    multi_az: bool
    backup_days: int
    verified: bool = True
    """Whether its certificate and name are verified. An emulator's is signed by nobody."""


@dataclass(frozen=True, kw_only=True)
class KafkaSize:
    """The Kafka cluster: brokers in both zones."""

    instance: str
    brokers: int
    storage_gib: int
    tls: bool = True
    """Whether clients are answered by TLS alone. An emulator's broker has none."""

    @property
    def port(self) -> int:
        """Returns where brokers of MSK listen for clients."""
        return 9094 if self.tls else 9092


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A name for the door, in a public zone of Route 53: its certificate is issued and renewed by ACM."""

    name: str
    zone_id: str


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A place that PulseTrack is deployed to."""

    name: str
    domain: Domain | None
    """Without one the door has no TLS, and is then open to the private network only."""
    services: Mapping[str, Scale]
    """By name; the gateway's too."""
    database: DatabaseSize
    kafka: KafkaSize
    admin_email: str
    keep_data: bool
    """Whether databases, topics and secrets outlive their stack, and are protected against deletion."""
    alarm_email: str | None = None
    """Who is told of alarms, once he has confirmed it; nobody if None."""
    open_sign_up: bool = False
    """Whether any visitor may create a user, who can then read every patient. Otherwise admins create users."""
    reflection: bool = False
    """Whether services tell strangers about the contract."""
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Settings of services that differ from the defaults (docs/operations.md): values by variable, by service."""
    plain_port: int = GATEWAY_PORT
    """Where clients come in if there is no domain."""

    @property
    def port(self) -> int:
        """Returns where clients come in."""
        return HTTPS_PORT if self.domain else self.plain_port
