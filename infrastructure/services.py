"""The four services and the gateway, each with its tasks, its private name and its scaling."""

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_servicediscovery as servicediscovery
from constructs import Construct

from infrastructure.alarms import Alarms
from infrastructure.data import Data, runtime_of
from infrastructure.edge import Edge
from infrastructure.jobs import Jobs, database_environment
from infrastructure.metrics import Metrics
from infrastructure.network import PRIVATE, Network
from infrastructure.scaling import scale_by_delay, scale_by_load
from infrastructure.settings import GATEWAY, GATEWAY_PORT, NAMESPACE, SERVICE_PORT, SERVICES, USES_KAFKA, Environment
from infrastructure.stack import Stack, logical
from infrastructure.task import Images, healthy

_LINGER_SECONDS = 15  # longer than what the gateway knows of a name can be old
_DRAIN_SECONDS = 10
_SECONDS_LATE, _EVENTS_LATE = 30, 2_000
"""What may wait to be delivered, and to be stored, before there are more tasks."""
_GATEWAY_FILE = "/etc/envoy/cloud.yaml"
_NAME_TTL = cdk.Duration.seconds(10)


class Services(Stack):
    """What serves: replaced task by task, and put back as it was if the new tasks do not become healthy."""

    def __init__(
        self, scope: Construct, environment: Environment, *, network: Network, data: Data, edge: Edge, jobs: Jobs
    ) -> None:
        super().__init__(scope, environment, "services")
        self._environment, self._network, self._data, self._jobs = environment, network, data, jobs
        self._images = Images(self)
        kafka = cdk.CfnParameter(self, "KafkaBootstrap", description="Kafka's bootstrap servers: host:port,host:port")
        metrics = Metrics(self, environment, jobs.log)
        counts = {name: self._add_service(name, kafka.value_as_string) for name in SERVICES}
        scale_by_delay(counts["patient"], metrics.outbox_age, target=_SECONDS_LATE)
        scale_by_delay(counts["analytics"], metrics.consumer_lag, target=_EVENTS_LATE)
        self._add_gateway(edge)
        Alarms(self, environment, metrics=metrics, data=data, edge=edge)

    def _add_service(self, name: str, kafka: str) -> ecs.ScalableTaskCount:
        definition = self._images.task(
            self,
            name,
            image=name,
            scale=self._environment.services[name],
            log=self._jobs.log,
            environment={**self._told(name, kafka), **self._environment.settings.get(name, {})},
            secrets=self._secrets(name),
            port=SERVICE_PORT,
            health_check=healthy("python", "-I", "-S", "deploy/probe.py"),
        )
        service = self._serve(name, definition)
        service.enable_cloud_map(name=name, dns_record_type=servicediscovery.DnsRecordType.A, dns_ttl=_NAME_TTL)
        return scale_by_load(service, self._environment.services[name])

    def _add_gateway(self, edge: Edge) -> None:
        definition = self._images.task(
            self,
            GATEWAY,
            image="envoy",
            scale=self._environment.services[GATEWAY],
            log=self._jobs.log,
            entry_point=["gracefully"],
            command=["-c", _GATEWAY_FILE, "--concurrency", "2", "--log-level", "warn", "--disable-hot-restart"],
            port=GATEWAY_PORT,
        )
        service = self._serve(GATEWAY, definition)
        service.attach_to_network_target_group(edge.gateway)
        scale_by_load(service, self._environment.services[GATEWAY])

    def _serve(self, name: str, definition: ecs.FargateTaskDefinition) -> ecs.FargateService:
        cdk.CfnOutput(self, f"{logical(name)}Definition", value=definition.task_definition_arn)
        return ecs.FargateService(
            self,
            f"{logical(name)}Service",
            service_name=name,
            cluster=self._jobs.cluster,
            task_definition=definition,
            desired_count=self._environment.services[name].least,
            vpc_subnets=PRIVATE,
            security_groups=[self._network.groups[name]],
            assign_public_ip=False,
            min_healthy_percent=100,  # a new task is healthy before an old one is stopped
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
        )

    def _told(self, name: str, kafka: str) -> dict[str, str]:
        """Returns what a service is told that is no secret."""
        role = runtime_of(name)
        told = {
            "PULSETRACK_LISTEN": f"0.0.0.0:{SERVICE_PORT}",
            "PULSETRACK_LINGER_SECONDS": str(_LINGER_SECONDS),
            "PULSETRACK_DRAIN_SECONDS": str(_DRAIN_SECONDS),
            "PULSETRACK_REFLECTION": "on" if self._environment.reflection else "off",
            **database_environment(self._environment, self._data, role, role),
        }
        if name == "auth":
            sign_up = "open" if self._environment.open_sign_up else "closed"
            return told | {"PULSETRACK_ADMIN_EMAIL": self._environment.admin_email, "PULSETRACK_SIGN_UP": sign_up}
        told |= {"PULSETRACK_AUTH": _address("auth")}
        if name == "patient":
            told |= {"PULSETRACK_BILLING": _address("billing")}
        if name in USES_KAFKA:
            told |= {"PULSETRACK_KAFKA": f"ssl://{kafka}" if self._environment.kafka.tls else kafka}
        return told

    def _secrets(self, name: str) -> dict[str, ecs.Secret]:
        """Returns the secrets that a service may read: its own."""
        data = self._data
        secrets = {"PGPASSWORD": ecs.Secret.from_secrets_manager(data.passwords[runtime_of(name)])}
        if name == "auth":
            secrets |= {
                "PULSETRACK_ADMIN_PASSWORD": ecs.Secret.from_secrets_manager(data.admin_password),
                "PULSETRACK_KEY_PASSPHRASE": ecs.Secret.from_secrets_manager(data.key_passphrase),
                "PULSETRACK_SERVICE_SECRETS": ecs.Secret.from_secrets_manager(data.client_secrets),
            }
        if name == "patient":
            secrets |= {"PULSETRACK_SERVICE_SECRET": ecs.Secret.from_secrets_manager(data.client_secrets, name)}
        return secrets


def _address(service: str) -> str:
    return f"{service}.{NAMESPACE}:{SERVICE_PORT}"
