"""The services stack: the services and the gateway, with their tasks, DNS names and scaling."""

from functools import cached_property
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_servicediscovery as servicediscovery
from constructs import Construct

from deploy.topology import (
    CLIENT_SECRETS,
    CLIENTS,
    COLLECTOR,
    GATEWAY,
    GATEWAY_PORT,
    OTLP_PORT,
    PROBE,
    SMTP_URL,
    TLS_SETTINGS,
    TOPOLOGY,
    Service,
    TlsSecrets,
    database_name,
)
from infrastructure.data import Data
from infrastructure.edge import Edge
from infrastructure.jobs import Jobs, database_environment
from infrastructure.metrics import OUTBOX_AGE, read_consumer_lag
from infrastructure.network import PRIVATE, TRACE_ACTIONS, Network
from infrastructure.scaling import scale_by_delay, scale_by_load
from infrastructure.settings import NAMESPACE, Environment, KafkaSize, Scale, Telemetry
from infrastructure.stack import Stack, accept, to_logical_id
from infrastructure.task import Images, build_health_check

_LINGER_SECONDS = 15  # longer than the gateway can use an outdated DNS record
_DRAIN_SECONDS = 10
_SECONDS_LATE, _EVENTS_LATE = 30, 2_000
"""The outbox age and the consumer lag above which tasks are added."""
_GATEWAY_FILE, _TRACING_GATEWAY_FILE = "/etc/envoy/cloud.yaml", "/etc/envoy/cloud-traced.yaml"
_COLLECTOR = Path(__file__).resolve().parents[1] / "deploy" / "collector"
_NAME_TTL = cdk.Duration.seconds(10)


class Services(Stack):
    """The running services. A deployment replaces tasks one by one, and is rolled back if new tasks are unhealthy."""

    def __init__(
        self, scope: Construct, environment: Environment, *, network: Network, data: Data, edge: Edge, jobs: Jobs
    ) -> None:
        super().__init__(scope, environment, "services")
        self._environment, self._network, self._data, self._jobs = environment, network, data, jobs
        self._images = Images(self, environment)
        kafka = cdk.CfnParameter(self, "KafkaBootstrap", description="Kafka's bootstrap servers: host:port,host:port")
        certificates = cdk.CfnParameter(self, "Certificates", default="", description="The version of the certificates")
        # New certificates change the task definitions: running tasks do not read them.
        self._labels = {"pulsetrack.certificates": certificates.value_as_string}
        counts = {name: self._add_service(service, kafka.value_as_string) for name, service in TOPOLOGY.items()}
        if environment.log_metrics:
            scale_by_delay(counts["patient"], OUTBOX_AGE.read(environment), target=_SECONDS_LATE)
        if isinstance(environment.kafka, KafkaSize):
            scale_by_delay(counts["analytics"], read_consumer_lag(data.kafka_name), target=_EVENTS_LATE)
        self._add_gateway(edge)
        if environment.telemetry:
            self._add_collector(environment.telemetry)

    def _add_service(self, service: Service, kafka: str) -> ecs.ScalableTaskCount:
        name = service.name
        definition = self._images.task(
            self,
            name,
            image=name,
            scale=self._environment.services[name],
            log=self._jobs.log,
            environment=self._build_environment(service, kafka),
            secrets=self._build_secrets(service),
            port=service.port,
            health_check=build_health_check(*PROBE),
            labels=self._labels,
        )
        if user := self._data.kafka_users.get(name):
            user.pass_password(definition)
        fargate = self._run(name, definition, self._environment.services[name])
        fargate.enable_cloud_map(name=name, dns_record_type=servicediscovery.DnsRecordType.A, dns_ttl=_NAME_TTL)
        return scale_by_load(fargate, self._environment.services[name])

    def _add_gateway(self, edge: Edge) -> None:
        file = _TRACING_GATEWAY_FILE if self._environment.telemetry else _GATEWAY_FILE
        definition = self._images.task(
            self,
            GATEWAY,
            image="envoy",
            scale=self._environment.services[GATEWAY],
            log=self._jobs.log,
            entry_point=["gracefully"],
            command=["-c", file, "--concurrency", "2", "--log-level", "warn", "--disable-hot-restart"],
            secrets=self._build_certificate(GATEWAY),
            port=GATEWAY_PORT,
            labels=self._labels,
        )
        service = self._run(GATEWAY, definition, self._environment.services[GATEWAY])
        edge.balancer.attach(service)
        scale_by_load(service, self._environment.services[GATEWAY])

    def _add_collector(self, telemetry: Telemetry) -> None:
        kind = "otlp" if telemetry.endpoint else "xray"
        definition = self._images.task(
            self,
            COLLECTOR,
            image=COLLECTOR,
            version=telemetry.version,
            scale=telemetry.scale,
            log=self._jobs.log,
            command=["--config=env:CONFIGURATION"],
            environment={
                "CONFIGURATION": (_COLLECTOR / f"{kind}.yaml").read_text(encoding="utf-8"),
                **({"OTLP_ENDPOINT": telemetry.endpoint} if telemetry.endpoint else {}),
            },
            port=OTLP_PORT,
        )
        if not telemetry.endpoint:
            definition.add_to_task_role_policy(iam.PolicyStatement(actions=TRACE_ACTIONS, resources=["*"]))
            rule = "AwsSolutions::AwsSolutions-IAM5[Resource::*]"
            accept(definition, rule, "These actions do not apply to a resource.")
        fargate = self._run(COLLECTOR, definition, telemetry.scale)
        fargate.enable_cloud_map(name=COLLECTOR, dns_record_type=servicediscovery.DnsRecordType.A, dns_ttl=_NAME_TTL)
        scale_by_load(fargate, telemetry.scale)

    def _run(self, name: str, definition: ecs.FargateTaskDefinition, scale: Scale) -> ecs.FargateService:
        cdk.CfnOutput(self, f"{to_logical_id(name)}Definition", value=definition.task_definition_arn)
        return ecs.FargateService(
            self,
            f"{to_logical_id(name)}Service",
            service_name=name,
            cluster=self._jobs.cluster,
            task_definition=definition,
            desired_count=scale.least,
            vpc_subnets=PRIVATE,
            security_groups=[self._network.groups[name]],
            assign_public_ip=False,
            min_healthy_percent=100,  # starts a new task before it stops an old one
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
        )

    def _build_environment(self, service: Service, kafka: str) -> dict[str, str]:
        """Returns the variables of a service that are not secret."""
        environment, role = self._environment, database_name(service.name)
        chosen = {
            "PULSETRACK_ADMIN_EMAIL": environment.admin_email,
            "PULSETRACK_SIGN_UP": environment.sign_up,
            "PULSETRACK_ADMIN_SECOND_FACTOR": environment.admin_second_factor,
        }
        if mail := environment.mail:
            chosen |= {
                "PULSETRACK_MAIL_FROM": mail.sender,
                "PULSETRACK_PUBLIC_URL": mail.public_url,
                "PULSETRACK_VERIFIED_EMAIL": mail.verified_email,
            }
        return {
            "PULSETRACK_LISTEN": f"0.0.0.0:{service.port}",
            "PULSETRACK_LINGER_SECONDS": str(_LINGER_SECONDS),
            "PULSETRACK_DRAIN_SECONDS": str(_DRAIN_SECONDS),
            "PULSETRACK_REFLECTION": "on" if environment.reflection else "off",
            **database_environment(environment, self._data, role, role),
            **{variable: value for variable, value in chosen.items() if variable in service.settings},
            **service.addresses(_address, environment.kafka.build_url(service.name, kafka)),
            **({"PULSETRACK_OTLP_ENDPOINT": f"{COLLECTOR}.{NAMESPACE}:{OTLP_PORT}"} if environment.telemetry else {}),
            **environment.settings.get(service.name, {}),
        }

    def _build_secrets(self, service: Service) -> dict[str, ecs.Secret]:
        """Returns the secrets of a service, by variable."""
        data, read = self._data, ecs.Secret.from_secrets_manager
        secrets = {
            "admin-password": read(data.admin_password),
            "key-passphrase": read(data.key_passphrase),
            CLIENT_SECRETS: read(data.client_secrets),
            **{secret: read(data.client_secrets, client) for client, secret in CLIENTS.items()},
            **self._mail_server,
        }
        return {
            "PGPASSWORD": read(data.passwords[database_name(service.name)]),
            **{variable: secrets[name] for variable, name in service.secrets.items() if name in secrets},
            **self._build_certificate(service.name),
        }

    @cached_property
    def _mail_server(self) -> dict[str, ecs.Secret]:
        """The secret with the URL of the mail server, if there is one. The operator has created it."""
        mail = self._environment.mail
        if mail is None:
            return {}
        secret = secretsmanager.Secret.from_secret_name_v2(self, "SmtpUrl", mail.secret)
        return {SMTP_URL: ecs.Secret.from_secrets_manager(secret)}

    def _build_certificate(self, name: str) -> dict[str, ecs.Secret]:
        """Returns the secrets with which a service or the gateway authenticates to the others, by variable."""
        secret = self._data.certificates[name]
        return {
            variable: ecs.Secret.from_secrets_manager(secret, field)
            for variable, field in zip(TLS_SETTINGS, TlsSecrets._fields, strict=True)
        }


def _address(service: str) -> str:
    return f"{service}.{NAMESPACE}:{TOPOLOGY[service].port}"
