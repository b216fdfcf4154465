"""A deployment: deploys the stacks in order, runs the jobs, and checks the result."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import boto3
import httpx

from deploy.topology import GATEWAY, TOPOLOGY
from infrastructure.app import synthesize
from infrastructure.certificates import CertificateSecrets
from infrastructure.cloudformation import CloudFormation, Confirm
from infrastructure.errors import DeployError
from infrastructure.operations import plan_task
from infrastructure.pause import start_services, stop_services
from infrastructure.settings import Environment, ExternalKafka
from infrastructure.stack import Stack
from infrastructure.tasks import Cluster

_CALL_SECONDS = 300
_PLACEHOLDER = ".example"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The options of one deployment."""

    images: str = "pulsetrack"
    """The prefix of image names: `pulsetrack`, or a registry and a path."""
    version: str = "dev"
    kafka: str | None = None
    """Bootstrap servers. Required if the environment's Kafka is external. If None, they are read from MSK."""
    rotate_certificates: bool = False
    """Whether to replace all certificates of the gateway and the services, and their authority."""
    endpoint: str | None = None
    """The URL of an emulator. If None, AWS is used."""
    bucket: str | None = None
    """The S3 bucket for templates that are too large to be sent inline."""
    confirm: Confirm | None = None
    """Is asked before a stack with retained data is changed. If None, nothing is asked."""
    session: Any = field(default_factory=boto3.Session)


class Deployment:
    """An environment at an endpoint. The methods raise DeployError."""

    def __init__(self, environment: Environment, choices: Choices, folder: Path, report: Callable[[str], None]) -> None:
        """Takes the folder for the templates, and a callback that receives progress messages."""
        self._environment = environment
        self._choices = choices
        self._folder = folder
        self._report = report
        self._cloudformation = CloudFormation(
            choices.session,
            choices.endpoint,
            bucket=choices.bucket,
            confirm=choices.confirm if environment.keep_data else None,
        )

    def deploy(self) -> str:
        """Deploys, waits until the system is ready, and returns its URL."""
        self._check_settings()
        network, data, edge, jobs, backups, services, monitoring = synthesize(self._environment, self._folder)
        images = {"Images": self._choices.images, "Version": self._choices.version}
        network_outputs = self._put(network)
        data_outputs = self._put(data)
        kafka, certificates = self._find_brokers(data_outputs), self._renew_certificates(data_outputs)
        url = self._put(edge)["Url"]
        jobs_outputs = self._put(jobs, images)
        cluster = Cluster(self._choices.session, self._choices.endpoint, network_outputs | jobs_outputs)
        self._prepare_databases(cluster, jobs_outputs)
        self._put(backups, images)
        self._run_services(cluster, services, {**images, "KafkaBootstrap": kafka, "Certificates": certificates})
        self._put(monitoring)
        self._check_url(url)
        return url

    def run(self, operation: str, arguments: Sequence[str]) -> int:
        """Runs an operation as a task of the deployed version, reports its log, and returns its exit code."""
        task, command = plan_task(operation, arguments)
        outputs = self._read_outputs(task)
        cluster = Cluster(self._choices.session, self._choices.endpoint, outputs)
        return cluster.run_command(outputs[task], command, self._report)

    def pause(self, *, stop: bool) -> None:
        """Stops the services, or starts them again and waits until they run."""
        session, endpoint, outputs = self._choices.session, self._choices.endpoint, self._read_outputs("ClusterName")
        change = stop_services if stop else start_services
        change(session, endpoint, outputs["ClusterName"], self._environment)
        if not stop:
            definitions = {name: outputs[f"{name.capitalize()}Definition"] for name in (*TOPOLOGY, GATEWAY)}
            Cluster(session, endpoint, outputs).wait_for_services(definitions)

    def _read_outputs(self, needed: str) -> dict[str, str]:
        """Returns the outputs of the deployed stacks. Raises DeployError if one is missing."""
        prefix = f"pulsetrack-{self._environment.name}"
        outputs = {
            name: value
            for part in ("network", "jobs", "backups", "services")
            for name, value in self._cloudformation.outputs(f"{prefix}-{part}").items()
        }
        if needed not in outputs:
            raise DeployError(
                f"The stacks of {self._environment.name} have no output {needed}. Deploy this version first."
            )
        return outputs

    def destroy(self) -> None:
        """Deletes all stacks, in reverse order."""
        if self._environment.keep_data:
            raise DeployError(f"{self._environment.name} retains its data and cannot be destroyed by this command.")
        for stack in reversed(synthesize(self._environment, self._folder)):
            self._report(f"deleting {stack.stack_name}")
            if bucket := self._cloudformation.outputs(stack.stack_name).get("BucketName"):
                self._cloudformation.empty_bucket(bucket)
            self._cloudformation.delete(stack.stack_name)

    def _check_settings(self) -> None:
        environment = self._environment
        if isinstance(environment.kafka, ExternalKafka) and not self._choices.kafka:
            raise DeployError(f"{environment.name} has no MSK. Set PULSETRACK_KAFKA to the brokers of a Kafka cluster.")
        domain = environment.domain.name if environment.domain else ""
        for value in (domain, environment.admin_email, environment.alarm_email or ""):
            if value.endswith(_PLACEHOLDER):
                raise DeployError(
                    f"{value} is a placeholder. Replace it in infrastructure/environments/{environment.name}.py."
                )

    def _put(self, stack: Stack, parameters: dict[str, str] | None = None) -> dict[str, str]:
        self._report(f"deploying {stack.stack_name}")
        template = self._folder / stack.template_file
        protect = bool(stack.termination_protection)
        outputs = self._cloudformation.put(stack.stack_name, template, parameters or {}, protect=protect)
        counts = self._cloudformation.count_resources(stack.stack_name)
        if missing := sorted(kind for kind, (_, missing) in counts.items() if missing):
            raise DeployError(
                f"The endpoint reports that {stack.stack_name} is complete, but did not create {', '.join(missing)}."
            )
        return outputs

    def _prepare_databases(self, cluster: Cluster, jobs: dict[str, str]) -> None:
        """Creates the databases and migrates them. The running services work with the migrated tables."""
        definitions = [definition for name, definition in jobs.items() if name.endswith("Job")]
        cluster.check_images(definitions, self._choices.version)
        self._report("creating the databases")
        cluster.run([jobs["DatabasesJob"]])
        self._report("migrating the databases")
        cluster.run([jobs[f"{service.capitalize()}MigrationsJob"] for service in TOPOLOGY])

    def _run_services(self, cluster: Cluster, stack: Stack, parameters: dict[str, str]) -> None:
        """Deploys the services, and waits until all of their tasks run the new version."""
        names = [*TOPOLOGY, GATEWAY]
        before = cluster.list_deployments(names)
        outputs = self._put(stack, parameters)
        definitions = {name: outputs[f"{name.capitalize()}Definition"] for name in names}
        cluster.check_images([*definitions.values()], self._choices.version)
        if skipped := cluster.update_services(definitions, before):
            self._report(f"CloudFormation did not update {', '.join(skipped)}. They are updated by ECS")
        self._report("waiting for the services")
        cluster.wait_for_services(definitions)

    def _renew_certificates(self, data: dict[str, str]) -> str:
        """Renews the certificates of the gateway and the services if needed. Returns their version."""
        client = self._choices.session.client("secretsmanager", endpoint_url=self._choices.endpoint)
        return CertificateSecrets(client, data).renew(rotate=self._choices.rotate_certificates)

    def _find_brokers(self, data: dict[str, str]) -> str:
        """Returns Kafka's bootstrap servers. CloudFormation has no attribute for them."""
        kafka = self._environment.kafka
        if isinstance(kafka, ExternalKafka) or self._choices.kafka:
            return self._choices.kafka or ""
        msk = self._choices.session.client("kafka", endpoint_url=self._choices.endpoint)
        brokers = msk.get_bootstrap_brokers(ClusterArn=data["KafkaArn"])
        if not brokers.get(kafka.brokers_field):
            raise DeployError(f"The Kafka cluster has no {kafka.brokers_field}.")
        return str(brokers[kafka.brokers_field])

    def _check_url(self, url: str) -> None:
        """Calls the gateway, and auth through it, until both respond."""
        self._report(f"calling {url}")
        limit = time.monotonic() + _CALL_SECONDS
        for path in ("/readyz", "/.well-known/jwks.json"):
            while (status := _get_status(url + path)) != HTTPStatus.OK:
                if time.monotonic() > limit:
                    raise DeployError(f"{url}{path} does not respond with 200 after {_CALL_SECONDS} s: {status}.")
                time.sleep(1)


def _get_status(url: str) -> int | str:
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.TransportError as error:
        return str(error) or type(error).__name__
