"""Runs the stand-in for LocalStack in containers. standin/README.md describes it."""

import os
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import boto3
import httpx

from deploy.topology import TOPOLOGY
from tools.ports import free_port

ROOT = Path(__file__).resolve().parents[2]

KAFKA = "kafka:9092"
"""The bootstrap server of the broker, for tasks."""

_SECONDS = 120


class StandIn:
    """The emulator and a Kafka broker on a separate network. On exit, all containers that it started are removed."""

    def __init__(self) -> None:
        self._name = f"pulsetrack-standin-{secrets.token_hex(3)}"
        self.port = free_port()
        self.gateway_port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        docker("network", "create", self._name)
        try:
            self._start_kafka()
            self._start_emulator()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        containers = docker("ps", "--all", "--quiet", "--filter", f"network={self._name}").split()
        if containers:
            docker("rm", "--force", "--volumes", *containers)
        docker("network", "rm", self._name)

    def session(self) -> Any:
        """Returns a boto3 session for the emulator."""
        return boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")

    def client(self, service: str) -> Any:
        """Returns a boto3 client for a service of the emulator."""
        return self.session().client(service, endpoint_url=self.endpoint)

    def outputs(self, stack: str) -> dict[str, str]:
        """Returns the outputs of a stack."""
        [described] = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}

    def kill(self, container: str) -> None:
        """Kills a container."""
        docker("kill", container)

    def list_published_ports(self) -> set[int]:
        """Returns the published ports of the containers."""
        lines = docker("ps", "--filter", f"network={self._name}", "--format", "{{.Ports}}").splitlines()
        return {int(port) for line in lines for port in re.findall(r":(\d+)->", line)}

    def containers(self, service: str) -> list[str]:
        """Returns the ids of the containers of a service's running tasks."""
        label = f"label=com.amazonaws.ecs.container-name={service}"
        return docker("ps", "--quiet", "--filter", f"network={self._name}", "--filter", label).split()

    def log(self) -> str:
        """Returns the end of the emulator's log."""
        return docker("logs", "--tail", "100", self._name)

    def _start_kafka(self) -> None:
        environment = {
            "CLUSTER_ID": "3JqJ2kYvR1m8Jm0pDqkq9w",
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://localhost:9093",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{KAFKA}",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m",
        }
        self._run("kafka", "apache/kafka:4.3.1", environment, ["--network-alias", "kafka"])

    def _start_emulator(self) -> None:
        docker("build", "--quiet", "--tag", "pulsetrack/standin", str(ROOT / "tests" / "infrastructure" / "standin"))
        environment = {"MINISTACK_MSK_BOOTSTRAP": KAFKA}
        ports = ["--publish", f"127.0.0.1:{self.port}:4566"]
        ports += ["--publish", f"127.0.0.1:{self.gateway_port}:{self.gateway_port}"]
        engine = ["--volume", "/var/run/docker.sock:/var/run/docker.sock"]
        self._run("emulator", "pulsetrack/standin", environment, [*ports, *engine])
        limit = time.monotonic() + _SECONDS
        while not _is_ready(self.endpoint):
            assert time.monotonic() < limit, self.log()
            time.sleep(0.2)

    def _run(self, name: str, image: str, environment: Mapping[str, str], options: list[str]) -> None:
        variables = [text for pair in environment.items() for text in ("--env", "=".join(pair))]
        name = self._name if name == "emulator" else f"{self._name}-{name}"
        docker("run", "--detach", "--name", name, "--network", self._name, *variables, *options, image)


def build_images(version: str) -> None:
    """Builds all images of the checkout with Compose."""
    docker("compose", "build", "--quiet", variables={"PULSETRACK_VERSION": version, "COMPOSE_PROFILES": "cloud"})


def build_next_version(version: str, new: str) -> None:
    """Builds images of a next version, which differ only in a migration of patient's tables."""
    newest = max(path.stem for path in (ROOT / "services" / "patient" / "migrations").glob("[0-9]*.py"))
    migration = _MIGRATION.format(newest=newest.partition("_")[0])
    _derive(version, new, "patient", "COPY file services/patient/migrations/9999_standin.py", file=migration)


def build_broken_version(version: str, new: str) -> None:
    """Builds images of a version whose billing service exits at start-up."""
    _derive(version, new, "billing", 'CMD ["services.not_there"]')


def _derive(version: str, new: str, changed: str, instruction: str, *, file: str = "") -> None:
    for name in {*TOPOLOGY, "backup", "databases", "envoy"} - {changed}:
        docker("tag", f"pulsetrack/{name}:{version}", f"pulsetrack/{name}:{new}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "file").write_text(file, encoding="utf-8")
        Path(folder, "Dockerfile").write_text(f"FROM pulsetrack/{changed}:{version}\n{instruction}\n", encoding="utf-8")
        docker("build", "--quiet", "--tag", f"pulsetrack/{changed}:{new}", folder)


_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"


def upgrade():
    op.add_column("patients", sa.Column("standin", sa.Text))
"""


def docker(*arguments: str, variables: Mapping[str, str] | None = None) -> str:
    """Runs docker and returns its output."""
    environment = {**os.environ, **(variables or {})}
    run = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert run.returncode == 0, f"docker {' '.join(arguments)}: {run.stderr}"
    return run.stdout


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/_ministack/health", timeout=2).status_code < 500
    except httpx.TransportError:
        return False
