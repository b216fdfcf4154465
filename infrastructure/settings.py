"""The settings of an environment: the sizes of its components, the protection of its data, and what its cloud lacks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deploy.topology import GATEWAY_PORT, KAFKA_PORT

HTTPS_PORT = 443

Architecture = Literal["x86_64", "arm64"]

NAMESPACE = "pulsetrack.internal"
"""The private DNS zone. The name of a service is `<service>.pulsetrack.internal`."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The number of tasks of a service and the size of each."""

    least: int
    most: int
    cpu: int = 256
    """CPU units, 1,024 per vCPU. Fargate accepts 256, 512, 1024 and so on."""
    memory_mib: int = 512


@dataclass(frozen=True, kw_only=True)
class DatabaseSize:
    """The Postgres server. Its storage grows automatically up to four times the initial size."""

    instance: str
    storage_gib: int
    multi_az: bool
    backup_days: int
    version: str = "18"
    """The major version. The services need 17 or newer."""
    administrator: str = "postgres"
    """The administrator's name. A new name replaces the server."""
    managed_password: bool = True
    """Whether RDS creates, stores and rotates the administrator's password. If False, it is one of the secrets."""
    monitoring_seconds: int = 60
    """The interval of enhanced monitoring, which measures processes and memory of the server. 0 disables it."""
    max_connections: int = 200
    """Must suffice for all tasks, twice as many during a deployment. Above 80%, an alarm is raised."""
    ssl_mode: Literal["verify-full", "require", "prefer"] = "verify-full"
    """Whether clients verify the server's certificate and name, only encrypt, or encrypt if the server can."""


@dataclass(frozen=True, kw_only=True)
class KafkaSize:
    """An MSK cluster, with brokers in both availability zones."""

    instance: str
    brokers: int
    storage_gib: int
    secure: bool = True
    """Whether brokers accept only TLS and users with passwords (SCRAM). The broker of an emulator supports neither."""

    @property
    def port(self) -> int:
        """The port on which MSK brokers listen for clients."""
        return 9096 if self.secure else KAFKA_PORT

    @property
    def brokers_field(self) -> str:
        """The field of the response of GetBootstrapBrokers with the addresses of this port."""
        return "BootstrapBrokerStringSaslScram" if self.secure else "BootstrapBrokerString"

    def build_url(self, user: str, brokers: str) -> str:
        """Returns the setting PULSETRACK_KAFKA of a service."""
        return f"sasl_ssl://{user}@{brokers}" if self.secure else brokers


@dataclass(frozen=True, kw_only=True)
class ExternalKafka:
    """A Kafka cluster that is not part of the stacks. PULSETRACK_KAFKA contains its bootstrap servers."""

    tls: bool = True
    port: int = KAFKA_PORT

    def build_url(self, _: str, brokers: str) -> str:
        """Returns the setting PULSETRACK_KAFKA of a service."""
        return f"ssl://{brokers}" if self.tls else brokers


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A domain name in a public Route 53 zone. ACM issues and renews its certificate."""

    name: str
    zone_id: str


@dataclass(frozen=True, kw_only=True)
class BackupPlan:
    """The logical backups of all databases in an S3 bucket, in addition to the snapshots of RDS."""

    hours: int = 12
    """The interval. An alarm is raised if no backup succeeded for a day."""
    retention_days: int = 35
    lock_days: int = 0
    """The days in which a backup cannot be deleted without a special permission. Not 0 only if data is retained."""
    recipient: str = ""
    """The public key of age that backups are encrypted to. If empty, only the key of the bucket encrypts them."""
    scratch_gib: int = 21
    """The disk of a task, at least 21. All dumps must fit; they are compressed."""


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """The OpenTelemetry collector, which receives traces of the gateway and of the services, and sends them on."""

    scale: Scale = Scale(least=1, most=2)
    version: str = "0.165.0"
    """The tag of the image in the repository `collector`, a copy of otel/opentelemetry-collector-contrib."""
    endpoint: str = ""
    """The receiver of traces and metrics, by OTLP over HTTP: http://host:4318. If empty, traces are sent to X-Ray.

    It must be reachable from the private subnets, which have no route to the internet.
    """
    port: int = 443
    """The port of the receiver."""


@dataclass(frozen=True, kw_only=True)
class Mail:
    """The mail server. It must be reachable from the private subnets, as the endpoint of Amazon SES is."""

    secret: str
    """The name of the secret in Secrets Manager with PULSETRACK_SMTP_URL. It must exist before the deployment."""
    sender: str
    """The sender of mail: an address, or a name and <an address>."""
    port: int = 587
    """The port of the server."""
    public_url: str = ""
    """The URL of the web client, to which links in mail lead."""
    verified_email: Literal["optional", "required"] = "optional"
    """Whether users need a verified email address to log in."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An environment that PulseTrack is deployed to."""

    name: str
    domain: Domain | None
    """If None, the load balancer is internal and has no TLS."""
    services: Mapping[str, Scale]
    """The scale of each service and of the gateway, by name."""
    database: DatabaseSize
    kafka: KafkaSize | ExternalKafka
    admin_email: str
    keep_data: bool
    """Whether databases, topics and secrets are retained when their stack is deleted, and protected from deletion."""
    backup: BackupPlan = BackupPlan()
    telemetry: Telemetry | None = None
    """If None, no traces are recorded. Images of the gateway determine the percentage of traced calls."""
    alarm_email: str | None = None
    """The address that receives alarms after it confirms the subscription. If None, alarms are not sent."""
    sign_up: Literal["open", "invite", "closed"] = "invite"
    """Who can sign up. With `open`, any visitor can create a user, who can then read unrestricted patients."""
    admin_second_factor: Literal["optional", "required"] = "optional"
    """Whether admins need a second factor. With `required`, an admin without one has the permissions of a user."""
    mail: Mail | None = None
    """If None, no mail is sent."""
    reflection: bool = False
    """Whether gRPC reflection is enabled."""
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Settings that differ from the defaults (docs/operations.md): values by variable, by service."""
    balancer: Literal["network", "application"] = "network"
    """A network load balancer preserves client addresses. An application load balancer understands HTTP and gRPC."""
    plain_port: int = GATEWAY_PORT
    """The port of the load balancer if there is no domain."""
    drain_seconds: int = 150
    """The time that a deregistered gateway still runs. An NLB may send it new connections for about two minutes."""
    architecture: Architecture = "x86_64"
    """The processor architecture of the tasks, for which the images must be built. arm64 costs 20% less on Fargate."""
    flow_logs: bool = True
    """Whether rejected connections in the VPC are logged."""
    log_metrics: bool = True
    """Whether metric filters on the log count errors and measure the age of the outbox."""
    dashboard: bool = True
    """Whether CloudWatch has a dashboard of the metrics."""

    @property
    def port(self) -> int:
        """The port of the load balancer."""
        return HTTPS_PORT if self.domain else self.plain_port
