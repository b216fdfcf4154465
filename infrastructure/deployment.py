"""A deployment: the stacks in their order, the jobs between them, and a look at what came of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import boto3
import httpx

from infrastructure.app import synthesise
from infrastructure.cloudformation import CloudFormation
from infrastructure.errors import DeployError
from infrastructure.settings import GATEWAY, SERVICES, Environment
from infrastructure.stack import Stack
from infrastructure.tasks import Cluster

_CALL_SECONDS = 300
_PLACEHOLDER = ".example"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is chosen for one deployment of an environment."""

    images: str = "pulsetrack"
    """What stands before the images' names: `pulsetrack`, or a registry and its folder."""
    version: str = "dev"
    kafka: str | None = None
    """Bootstrap servers; MSK is asked for its own if None."""
    endpoint: str | None = None
    """An emulator's URL; AWS if None."""
    session: Any = field(default_factory=boto3.Session)


class Deployment:
    """One environment at one endpoint. Its methods raise DeployError."""

    def __init__(self, environment: Environment, choices: Choices, folder: Path, say: Callable[[str], None]) -> None:
        """Takes the folder for the templates, and what tells the user how it goes."""
        self._environment = environment
        self._choices = choices
        self._folder = folder
        self._say = say
        self._cloudformation = CloudFormation(choices.session, choices.endpoint)

    def deploy(self) -> str:
        """Deploys, waits until everything works, and returns the URL."""
        self._check_settings()
        network, data, edge, jobs, services = synthesise(self._environment, self._folder)
        images = {"Images": self._choices.images, "Version": self._choices.version}
        self._put(network)
        kafka = self._bootstrap(self._put(data))
        url = self._put(edge)["Url"]
        cluster = self._cluster(self._put(jobs, images))
        self._prepare_databases(cluster, self._cloudformation.outputs(jobs.stack_name))
        deployed = self._put(services, {**images, "KafkaBootstrap": kafka})
        self._say("waiting for the services")
        cluster.wait_for_services({name: deployed[f"{name.capitalize()}Definition"] for name in (*SERVICES, GATEWAY)})
        self._call(url)
        return url

    def destroy(self) -> None:
        """Removes everything, the last stack first."""
        if self._environment.keep_data:
            raise DeployError(f"{self._environment.name} keeps its data: it is not destroyed by a command.")
        for stack in reversed(synthesise(self._environment, self._folder)):
            self._say(f"removing {stack.stack_name}")
            self._cloudformation.remove(stack.stack_name)

    def _check_settings(self) -> None:
        environment = self._environment
        domain = environment.domain.name if environment.domain else ""
        for said in (domain, environment.admin_email, environment.alarm_email or ""):
            if said.endswith(_PLACEHOLDER):
                raise DeployError(
                    f"{said} is a placeholder: put your own in infrastructure/environments/{environment.name}.py."
                )

    def _put(self, stack: Stack, parameters: dict[str, str] | None = None) -> dict[str, str]:
        self._say(f"deploying {stack.stack_name}")
        template = self._folder / stack.template_file
        protect = bool(stack.termination_protection)
        return self._cloudformation.put(stack.stack_name, template, parameters or {}, protect=protect)

    def _cluster(self, outputs: dict[str, str]) -> Cluster:
        return Cluster(self._choices.session, self._choices.endpoint, outputs)

    def _prepare_databases(self, cluster: Cluster, jobs: dict[str, str]) -> None:
        """Makes the databases, then migrates them: the services that run now still work on what comes out."""
        self._say("making databases")
        cluster.run([jobs["DatabasesJob"]])
        self._say("migrating databases")
        cluster.run([jobs[f"{service.capitalize()}MigrationsJob"] for service in SERVICES])

    def _bootstrap(self, data: dict[str, str]) -> str:
        """Returns Kafka's bootstrap servers: CloudFormation cannot say them."""
        if self._choices.kafka:
            return self._choices.kafka
        msk = self._choices.session.client("kafka", endpoint_url=self._choices.endpoint)
        brokers = msk.get_bootstrap_brokers(ClusterArn=data["KafkaArn"])
        name = "BootstrapBrokerStringTls" if self._environment.kafka.tls else "BootstrapBrokerString"
        if not brokers.get(name):
            raise DeployError(f"The Kafka cluster has no {name}.")
        return str(brokers[name])

    def _call(self, url: str) -> None:
        """Calls the gateway and, through it, a service, until both answer."""
        self._say(f"calling {url}")
        limit = time.monotonic() + _CALL_SECONDS
        for path in ("/readyz", "/.well-known/jwks.json"):
            while (answer := _status(url + path)) != HTTPStatus.OK:
                if time.monotonic() > limit:
                    raise DeployError(f"{url}{path} does not answer after {_CALL_SECONDS} s: {answer}.")
                time.sleep(1)


def _status(url: str) -> int | str:
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.TransportError as error:
        return str(error) or type(error).__name__
