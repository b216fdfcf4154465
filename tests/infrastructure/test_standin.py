"""Deploys the templates of the localstack environment, and those for AWS, to a patched emulator, not to LocalStack.

standin/README.md describes what this proves.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest

from deploy.compose import engine, images
from deploy.topology import GATEWAY, TOPOLOGY
from tests.e2e.sessions import ADMIN_EMAIL, Session, a_patient
from tests.e2e.steady_load import Load
from tests.e2e.test_journey import test_journey_by_grpc, test_journey_by_grpcurl, test_journey_by_rest
from tests.harness.waiting import eventually
from tests.infrastructure.resource_table import read_table

if TYPE_CHECKING:
    from infrastructure.deployment import Deployment
    from tests.infrastructure.engine import StandIn

__all__ = [
    "test_journey_by_grpc",
    "test_journey_by_grpcurl",
    "test_journey_by_rest",
]  # the same as on a local system

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]

PARTS = (*TOPOLOGY, GATEWAY)
FIRST, SECOND, BROKEN = "standin-1", "standin-2", "standin-3"


@dataclass
class Deployed:
    """PulseTrack on the stand-in."""

    url: str
    standin: "StandIn"
    version: Callable[[str], "Deployment"]
    """Returns the deployment of a version."""

    @property
    def admin_password(self) -> str:
        """The first admin's password, from Secrets Manager."""
        outputs = self.standin.outputs("pulsetrack-localstack-data")
        secret = self.standin.client("secretsmanager").get_secret_value(SecretId=outputs["AdminPasswordSecret"])
        return str(secret["SecretString"])

    def count_resources(self) -> dict[str, int]:
        """Returns the numbers of resources with a physical id of all stacks, by type."""
        client, counts = self.standin.client("cloudformation"), Counter[str]()
        for stack in client.describe_stacks()["Stacks"]:
            pages = client.get_paginator("list_stack_resources").paginate(StackName=stack["StackName"])
            resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
            counts.update(resource["ResourceType"] for resource in resources if resource["PhysicalResourceId"])
        return counts

    def run(self, operation: str, *arguments: str) -> list[str]:
        """Runs an operation as a task, and returns the lines of its log."""
        lines: list[str] = []
        deployment = self.version(FIRST)
        deployment._report = lines.append
        code = deployment.run(operation, arguments)
        assert code == 0, "\n".join(lines)
        return lines

    def tasks(self) -> dict[str, tuple[int, int]]:
        """Returns the numbers of running and desired tasks by service."""
        ecs = self.standin.client("ecs")
        [cluster] = ecs.list_clusters()["clusterArns"]
        services = ecs.describe_services(cluster=cluster, services=list(PARTS))["services"]
        return {each["serviceName"]: (each["runningCount"], each["desiredCount"]) for each in services}


@pytest.fixture(scope="module")
def deployed(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The first version of all images, deployed as by `make deploy`."""
    from tests.infrastructure.engine import KAFKA, StandIn, build_images

    if reason := engine.find_problem() or images.pull_missing():
        pytest.skip(f"this machine cannot run containers: {reason}")
    from infrastructure.deployment import Choices, Deployment
    from infrastructure.environments.localstack import LOCALSTACK

    build_images(FIRST)
    with StandIn() as standin:
        # The stand-in runs the image of the Postgres version that Compose uses.
        database = replace(LOCALSTACK.database, version="18")
        environment = replace(LOCALSTACK, plain_port=standin.gateway_port, database=database)

        def version(name: str) -> Deployment:
            choices = Choices(
                version=name,
                kafka=KAFKA,
                rotate_certificates=name == SECOND,
                endpoint=standin.endpoint,
                session=standin.session(),
            )
            return Deployment(environment, choices, tmp_path_factory.mktemp(name), print)

        yield Deployed(version(FIRST).deploy(), standin, version)


@pytest.fixture(scope="module")
def system(deployed: Deployed) -> Deployed:
    """The system behind the load balancer, for the journeys."""
    return deployed


@pytest.fixture(scope="module")
def user(deployed: Deployed) -> Iterator[Session]:
    """A user that the admin has created, because sign-up is closed."""
    with Session.create_user(deployed) as session:
        yield session


def test_every_service_runs_its_desired_number_of_tasks(deployed: Deployed) -> None:
    assert deployed.tasks() == dict.fromkeys(PARTS, (1, 1))
    assert all(len(deployed.standin.containers(part)) == 1 for part in PARTS)


def test_first_admin_has_the_password_in_secrets_manager(deployed: Deployed) -> None:
    with Session.log_in(deployed, ADMIN_EMAIL, deployed.admin_password) as admin:
        assert admin.get("/v1/auth/me")["role"] == "ROLE_ADMIN"


def test_journey_of_make_localstack(deployed: Deployed) -> None:
    from infrastructure.localstack import journey

    messages: list[str] = []
    address = deployed.url.removeprefix("http://")
    journey.travel(deployed.url, address, ADMIN_EMAIL, deployed.admin_password, messages.append)
    assert [message.partition(":")[0] for message in messages] == ["REST", "gRPC"]


def test_all_resources_of_the_document_are_created(deployed: Deployed) -> None:
    assert deployed.count_resources() == {kind: row.number for kind, row in read_table().items()}


def test_only_the_load_balancer_is_published(deployed: Deployed) -> None:
    assert deployed.standin.list_published_ports() == {deployed.standin.gateway_port, deployed.standin.port}


def test_sql_runs_as_a_task_of_the_operator(deployed: Deployed) -> None:
    assert deployed.run("sql", "SELECT current_user AS role") == ['{"role": "pulsetrack_operator"}', "SELECT 1"]
    assert (
        deployed.run("owner-sql", "patient", "SELECT current_user AS role")[0] == '{"role": "pulsetrack_patient_owner"}'
    )


def test_commands_of_services_run_as_tasks(deployed: Deployed) -> None:
    assert deployed.run("rotate-keys")
    assert deployed.run("audit-verify", "patient")
    assert deployed.run("prune-revisions", "--before", "2026-01-31") == ["Deleted 0 revisions from before 2026-01-31."]


def test_backup_is_restored_while_the_services_are_stopped(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    # The stand-in has no API of Application Auto Scaling.
    monkeypatch.setattr("infrastructure.pause._set_scaling", lambda *_, **__: None)
    with Session.create_user(deployed) as user:
        before = user.post("/v1/patients", a_patient())["id"]
        [logged] = deployed.run("backup")
        assert json.loads(logged)["backup"] == "succeeded"
        [name] = deployed.run("list-backups")
        after = user.post("/v1/patients", a_patient())["id"]
        deployed.version(FIRST).pause(stop=True)
        eventually(lambda: deployed.tasks() == dict.fromkeys(PARTS, (0, 0)), seconds=120)
        deployed.run("restore", name)
        deployed.version(FIRST).pause(stop=False)
        eventually(lambda: _get_status(user, before) == 200, seconds=120)
        assert _get_status(user, after) == 404
    deployed.run("discard-replaced")


def test_killed_task_is_replaced(deployed: Deployed) -> None:
    [killed] = deployed.standin.containers("patient")
    deployed.standin.kill(killed)
    with Session.create_user(deployed) as user:
        eventually(lambda: deployed.standin.containers("patient") not in ([], [killed]), seconds=60)
        eventually(lambda: _can_create(user), seconds=60)
    eventually(lambda: deployed.tasks() == dict.fromkeys(PARTS, (1, 1)), seconds=60)


def test_deployment_with_a_migration_and_new_certificates_fails_no_write(deployed: Deployed) -> None:
    from tests.infrastructure.engine import build_next_version

    build_next_version(FIRST, SECOND)
    before = {part: deployed.standin.containers(part) for part in PARTS}
    with Session.create_user(deployed) as user, Load(user, per_second=10) as load:
        deployed.version(SECOND).deploy()
    assert load.failed == []
    assert len(load.created) > 50
    assert all(deployed.standin.containers(part) != before[part] for part in PARTS)
    with Session.create_user(deployed) as user:
        assert all(user.get(f"/v1/patients/{patient}") for patient in load.created)


def test_deployment_whose_jobs_fail_changes_no_service(deployed: Deployed) -> None:
    from infrastructure.errors import DeployError

    with pytest.raises(DeployError, match="job databases failed"):
        deployed.version("never-built").deploy()
    assert httpx.get(f"{deployed.url}/readyz").status_code == 200
    assert deployed.tasks() == dict.fromkeys(PARTS, (1, 1))


def test_rollback_of_failing_tasks_fails_no_write(deployed: Deployed) -> None:
    from infrastructure.errors import DeployError
    from tests.infrastructure.engine import build_broken_version

    build_broken_version(SECOND, BROKEN)
    with Session.create_user(deployed) as user, Load(user, per_second=10) as load:
        with pytest.raises(DeployError, match="rolled back: billing"):
            deployed.version(BROKEN).deploy()
        eventually(lambda: deployed.tasks() == dict.fromkeys(PARTS, (1, 1)), seconds=120)
    assert load.failed == []
    with Session.create_user(deployed) as user:
        assert load.created
        assert all(user.get(f"/v1/patients/{patient}") for patient in load.created)


def test_destroy_removes_all_containers(deployed: Deployed) -> None:
    deployed.version(SECOND).destroy()
    assert all(deployed.standin.containers(part) == [] for part in PARTS)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{deployed.url}/readyz", timeout=5)


def test_templates_for_aws_run_without_tls(deployed: Deployed, tmp_path: Path) -> None:
    from infrastructure.deployment import Choices, Deployment
    from infrastructure.environments.staging import STAGING
    from infrastructure.settings import KafkaSize

    standin = deployed.standin
    environment = replace(
        STAGING,
        domain=None,
        plain_port=standin.gateway_port,
        database=replace(STAGING.database, ssl_mode="require"),
        kafka=KafkaSize(instance="t3.small", brokers=2, storage_gib=20, secure=False),
        admin_email=ADMIN_EMAIL,
        alarm_email=None,
    )
    choices = Choices(version=FIRST, endpoint=standin.endpoint, session=standin.session())
    deployment = Deployment(environment, choices, tmp_path, print)
    assert httpx.get(f"{deployment.deploy()}/readyz").status_code == 200
    deployment.destroy()


def _get_status(user: Session, patient: str) -> int:
    """Returns the status of a response, or 0 if there is none."""
    try:
        return user.rest.get(f"/v1/patients/{patient}").status_code
    except httpx.TransportError:
        return 0


def _can_create(user: Session) -> bool:
    response = user.rest.post("/v1/patients", json=a_patient(), params={"requestId": str(uuid4())})
    return response.status_code == 200
