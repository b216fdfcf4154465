"""The localstack environment's templates, deployed: against a patched emulator, never LocalStack or AWS themselves.

See standin/README.md for what that proves and what not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest

from deploy.compose import engine, images
from tests.e2e.load import Load
from tests.e2e.sessions import ADMIN_EMAIL, Session, a_patient
from tests.e2e.test_journey import test_journey_by_grpc, test_journey_by_grpcurl, test_journey_by_rest
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from infrastructure.deployment import Deployment
    from tests.infrastructure.engine import StandIn

__all__ = [
    "test_journey_by_grpc",
    "test_journey_by_grpcurl",
    "test_journey_by_rest",
]  # the same journeys as on a laptop

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]

PARTS = ("auth", "patient", "billing", "analytics", "gateway")
FIRST, SECOND, BROKEN = "standin-1", "standin-2", "standin-3"


@dataclass
class Deployed:
    """PulseTrack on the stand-in."""

    url: str
    standin: "StandIn"
    version: Callable[[str], "Deployment"]
    """Gives the deployment of a version."""

    @property
    def admin_password(self) -> str:
        """The first admin's password, from Secrets Manager."""
        outputs = self.standin.outputs("pulsetrack-localstack-data")
        secret = self.standin.client("secretsmanager").get_secret_value(SecretId=outputs["AdminPasswordSecret"])
        return str(secret["SecretString"])

    def tasks(self) -> dict[str, tuple[int, int]]:
        """Returns how many tasks of each service run, and how many should."""
        ecs = self.standin.client("ecs")
        [cluster] = ecs.list_clusters()["clusterArns"]
        services = ecs.describe_services(cluster=cluster, services=list(PARTS))["services"]
        return {each["serviceName"]: (each["runningCount"], each["desiredCount"]) for each in services}


@pytest.fixture(scope="module")
def deployed(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The first version of all images, deployed as `make deploy` does it."""
    from tests.infrastructure.engine import StandIn, build_images

    if reason := engine.find_problem() or images.pull_missing():
        pytest.skip(f"containers cannot be run here: {reason}")
    from infrastructure.deployment import Choices, Deployment
    from infrastructure.environments.localstack import LOCALSTACK

    build_images(FIRST)
    with StandIn() as standin:
        environment = replace(LOCALSTACK, plain_port=standin.gateway_port)

        def version(name: str) -> Deployment:
            choices = Choices(version=name, endpoint=standin.endpoint, session=standin.session())
            return Deployment(environment, choices, tmp_path_factory.mktemp(name), print)

        yield Deployed(version(FIRST).deploy(), standin, version)


@pytest.fixture(scope="module")
def system(deployed: Deployed) -> Deployed:
    """What the journeys go through: the load balancer."""
    return deployed


@pytest.fixture(scope="module")
def user(deployed: Deployed) -> Iterator[Session]:
    """A user whom the admin has created: sign-up is closed."""
    with Session.create_user(deployed) as session:
        yield session


def test_every_service_runs_as_many_tasks_as_it_should(deployed: Deployed) -> None:
    assert deployed.tasks() == dict.fromkeys(PARTS, (1, 1))
    assert all(len(deployed.standin.containers(part)) == 1 for part in PARTS)


def test_the_first_admin_has_the_password_in_secrets_manager(deployed: Deployed) -> None:
    with Session.log_in(deployed, ADMIN_EMAIL, deployed.admin_password) as admin:
        assert admin.get("/v1/auth/me")["role"] == "ROLE_ADMIN"


def test_nothing_but_the_load_balancer_can_be_called_from_outside(deployed: Deployed) -> None:
    assert deployed.standin.published() == {deployed.standin.gateway_port, deployed.standin.port}


def test_a_task_that_is_killed_is_replaced(deployed: Deployed) -> None:
    [killed] = deployed.standin.containers("patient")
    deployed.standin.kill(killed)
    with Session.create_user(deployed) as user:
        eventually(lambda: deployed.standin.containers("patient") not in ([], [killed]), seconds=60)
        eventually(lambda: _creates(user), seconds=60)
    eventually(lambda: deployed.tasks() == dict.fromkeys(PARTS, (1, 1)), seconds=60)


def test_a_second_version_with_a_migration_is_deployed_under_load_without_a_failed_write(deployed: Deployed) -> None:
    from tests.infrastructure.engine import next_version

    next_version(FIRST, SECOND)
    before = {part: deployed.standin.containers(part) for part in PARTS}
    with Session.create_user(deployed) as user, Load(user, per_second=10) as load:
        deployed.version(SECOND).deploy()
    assert load.failed == []
    assert len(load.created) > 50
    assert all(deployed.standin.containers(part) != before[part] for part in PARTS)
    with Session.create_user(deployed) as user:
        assert all(user.get(f"/v1/patients/{patient}") for patient in load.created)


def test_a_version_whose_jobs_cannot_run_changes_no_service(deployed: Deployed) -> None:
    from infrastructure.errors import DeployError

    with pytest.raises(DeployError, match="job databases failed"):
        deployed.version("never-built").deploy()
    assert httpx.get(f"{deployed.url}/readyz").status_code == 200
    assert deployed.tasks() == dict.fromkeys(PARTS, (1, 1))


def test_a_version_whose_tasks_fail_is_taken_back_without_a_failed_write(deployed: Deployed) -> None:
    from infrastructure.errors import DeployError
    from tests.infrastructure.engine import broken_version

    broken_version(SECOND, BROKEN)
    with Session.create_user(deployed) as user, Load(user, per_second=10) as load:
        with pytest.raises(DeployError, match="put back as it was: billing"):
            deployed.version(BROKEN).deploy()
        eventually(lambda: deployed.tasks() == dict.fromkeys(PARTS, (1, 1)), seconds=120)
    assert load.failed == []
    with Session.create_user(deployed) as user:
        assert load.created
        assert all(user.get(f"/v1/patients/{patient}") for patient in load.created)


def test_all_of_it_is_removed(deployed: Deployed) -> None:
    deployed.version(SECOND).destroy()
    assert all(deployed.standin.containers(part) == [] for part in PARTS)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{deployed.url}/readyz", timeout=5)


def _creates(user: Session) -> bool:
    answer = user.rest.post("/v1/patients", json=a_patient(), params={"requestId": str(uuid4())})
    return answer.status_code == 200
