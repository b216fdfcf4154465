"""The containers of LocalStack and of Kafka, and the images that LocalStack's ECS runs."""

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from deploy.topology import KAFKA_PORT, TOPOLOGY
from infrastructure.environments.localstack import PORT
from infrastructure.errors import DeployError
from infrastructure.task import REPOSITORY

NETWORK = "pulsetrack-localstack"
KAFKA = f"kafka:{KAFKA_PORT}"
"""The bootstrap server for tasks, which are in the same network."""
URL = f"http://localhost:{PORT}"
IMAGES = sorted({*TOPOLOGY, "backup", "databases", "envoy"})

_ROOT = Path(__file__).resolve().parents[2]
_LOCALSTACK_IMAGE = "localstack/localstack-pro:4.14.0"
_KAFKA_IMAGE = "apache/kafka:4.3.1"
_SECONDS = 180


def start(environment: Mapping[str, str] = os.environ) -> None:
    """Starts LocalStack and Kafka, unless they run. Raises DeployError."""
    if not environment.get("LOCALSTACK_AUTH_TOKEN"):
        raise DeployError(
            "Set LOCALSTACK_AUTH_TOKEN to the token of a LocalStack license. PulseTrack needs ECS, ECR, RDS and load"
            " balancers of the edition Base, and Cloud Map of the edition Ultimate (docs/localstack.md)."
        )
    if NETWORK not in docker("network", "ls", "--format", "{{.Name}}").split():
        docker("network", "create", NETWORK)
    running = docker("ps", "--filter", f"network={NETWORK}", "--format", "{{.Names}}").split()
    for name, options in (("kafka", kafka_options()), ("localstack", localstack_options(environment))):
        container = f"{NETWORK}-{name}"
        if container not in running:
            docker("rm", "--force", "--volumes", container)
            docker("run", "--detach", "--name", container, "--network", NETWORK, *options)
    limit = time.monotonic() + _SECONDS
    while not read_health():
        if time.monotonic() > limit:
            raise DeployError(f"LocalStack is not ready after {_SECONDS} s. See `docker logs {NETWORK}-localstack`.")
        time.sleep(1)


def stop() -> None:
    """Removes all containers of the network, those of the tasks too, and the network."""
    containers = docker("ps", "--all", "--quiet", "--filter", f"network={NETWORK}").split()
    if containers:
        docker("rm", "--force", "--volumes", *containers)
    if NETWORK in docker("network", "ls", "--format", "{{.Name}}").split():
        docker("network", "rm", NETWORK)


def localstack_options(environment: Mapping[str, str]) -> list[str]:
    """Returns the options and the image of LocalStack's container. The token stays out of the command line."""
    return [
        *("--env", "LOCALSTACK_AUTH_TOKEN"),
        *("--env", f"MAIN_DOCKER_NETWORK={NETWORK}"),  # the network of the tasks
        *("--env", "CFN_IGNORE_UNSUPPORTED_RESOURCE_TYPES=0"),
        *("--publish", f"127.0.0.1:{PORT}:{PORT}"),
        *("--publish", "127.0.0.1:4510-4559:4510-4559"),
        *("--volume", "/var/run/docker.sock:/var/run/docker.sock"),
        environment.get("LOCALSTACK_IMAGE", _LOCALSTACK_IMAGE),
    ]


def kafka_options() -> list[str]:
    """Returns the options and the image of Kafka's container: one broker, which has the name `kafka` in the network."""
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{KAFKA_PORT},CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{KAFKA}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m",
        "CLUSTER_ID": "3JqJ2kYvR1m8Jm0pDqkq9w",
    }
    variables = [text for pair in settings.items() for text in ("--env", "=".join(pair))]
    return [*variables, "--network-alias", "kafka", _KAFKA_IMAGE]


def read_health(url: str = URL) -> dict[str, Any]:
    """Returns the services that LocalStack offers, and its version. Empty if it does not respond."""
    try:
        return dict(httpx.get(f"{url}/_localstack/health", timeout=5).raise_for_status().json())
    except httpx.HTTPError:
        return {}


def push_images(registry: Any, version: str) -> str:
    """Builds all images, and pushes them to repositories of a registry (a boto3 client of ECR).

    Returns the prefix of their names. Raises DeployError.
    """
    docker("compose", "build", "--quiet", PULSETRACK_VERSION=version, COMPOSE_PROFILES="cloud")
    for image in IMAGES:
        name = f"{REPOSITORY}/{image}"
        try:
            repository = registry.create_repository(repositoryName=name)["repository"]
        except registry.exceptions.RepositoryAlreadyExistsException:
            [repository] = registry.describe_repositories(repositoryNames=[name])["repositories"]
        address = repository["repositoryUri"]
        docker("tag", f"{name}:{version}", f"{address}:{version}")
        docker("push", "--quiet", f"{address}:{version}")
    return str(address.removesuffix(f"/{IMAGES[-1]}"))


def find_gateway() -> str:
    """Returns host:port of the running gateway in the network of the tasks. Raises DeployError."""
    listing = ("ps", "--filter", f"network={NETWORK}", "--format", "{{.ID}} {{.Image}}")
    for line in docker(*listing).splitlines():
        container, _, image = line.partition(" ")
        if image.rpartition("/")[2].startswith("envoy:"):
            form = f'{{{{(index .NetworkSettings.Networks "{NETWORK}").IPAddress}}}}'
            return f"{docker('inspect', '--format', form, container).strip()}:8080"
    raise DeployError("No container of the gateway runs in the network of LocalStack.")


def docker(*arguments: str, **variables: str) -> str:
    """Runs docker in the root of the repository, and returns its output. Raises DeployError."""
    try:
        process = subprocess.run(
            ["docker", *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=_ROOT,
            env=os.environ | variables,
        )
    except FileNotFoundError:
        raise DeployError("`docker` is missing. Install Docker 20.10 or newer with Compose 2.") from None
    if process.returncode and arguments[0] != "rm":
        raise DeployError(f"`docker {' '.join(arguments[:2])}` failed: {process.stderr.strip()}")
    return process.stdout
