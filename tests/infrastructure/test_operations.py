"""Operations on AWS: the tasks that run them, and what the documents say."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from deploy.topology import TOPOLOGY

if TYPE_CHECKING:
    from infrastructure.tasks import Cluster
    from tests.infrastructure.templates import Templates

OUTPUTS = {"ClusterName": "c", "LogGroup": "log", "Subnets": "s", "SecurityGroup": "g"}
ARN = "arn:aws:ecs:us-east-1:0:task/c/7f0e"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> "Cluster":
    from infrastructure import tasks

    monkeypatch.setattr(tasks, "_POLL_SECONDS", 0)
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    return tasks.Cluster(session, "http://127.0.0.1:1", OUTPUTS)


def test_every_operation_has_a_task_and_a_program(templates: "Templates") -> None:
    from infrastructure.operations import OPERATIONS, plan_task

    outputs = {name for stack in ("jobs", "backups", "services") for name in templates[stack].find_outputs("*")}
    for name in OPERATIONS:
        for service in TOPOLOGY:
            task, command = plan_task(name, [service])
            assert task in outputs
            assert find_spec(command[0])


def test_operations_run_as_the_role_that_they_need(templates: "Templates") -> None:
    from infrastructure.operations import plan_task

    roles = {
        container["Name"]: variable["Value"]["Fn::Join"][1][0]
        for container in templates.containers()
        for variable in container.get("Environment", [])
        if variable["Name"] == "PULSETRACK_DATABASE_URL"
    }
    assert roles["sql"].startswith("postgresql://pulsetrack_operator@")
    assert plan_task("owner-sql", ["patient", "SELECT 1"]) == (
        "PatientMigrationsJob",
        ["services.common.postgres.query", "SELECT 1"],
    )
    assert roles["patient-migrations"].startswith("postgresql://pulsetrack_patient_owner@")


@pytest.mark.parametrize("arguments", [[], ["gateway"], ["--restored"]])
def test_missing_service_is_reported(arguments: Sequence[str]) -> None:
    from infrastructure.errors import DeployError
    from infrastructure.operations import plan_task

    with pytest.raises(DeployError, match="The first argument of migrate must be one of auth, patient"):
        plan_task("migrate", arguments)


def _expect_task(stubber: Stubber, task: dict[str, Any]) -> None:
    definition = {"taskDefinition": {"containerDefinitions": [{"name": "sql"}]}}
    stubber.add_response("describe_task_definition", definition, {"taskDefinition": "sql:1"})
    network = {"subnets": ["s"], "securityGroups": ["g"], "assignPublicIp": "DISABLED"}
    expected = {
        "cluster": "c",
        "taskDefinition": "sql:1",
        "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": network},
        "overrides": {"containerOverrides": [{"name": "sql", "command": ["query", "SELECT 1"]}]},
    }
    stubber.add_response("run_task", {"tasks": [{"taskArn": ARN}], "failures": []}, expected)
    for status in ("RUNNING", "STOPPED", "STOPPED"):
        stubber.add_response("describe_tasks", {"tasks": [{"taskArn": ARN, "lastStatus": status, **task}]})


def test_command_reports_its_whole_log_and_its_exit_code(cluster: "Cluster") -> None:
    lines: list[str] = []
    with Stubber(cluster._ecs) as ecs, Stubber(cluster._logs) as logs:
        _expect_task(ecs, {"containers": [{"name": "sql", "exitCode": 3}]})
        logs.add_response("describe_log_streams", {"logStreams": []})  # the log appears later
        logs.add_response("describe_log_streams", {"logStreams": [{"logStreamName": "sql/sql/7f0e"}]})
        pages: list[tuple[list[dict[str, Any]], str]] = [([{"message": "1"}], "f/1"), ([{"message": "2"}], "f/2")]
        for events, token in [*pages, ([], "f/2")]:
            logs.add_response("get_log_events", {"events": events, "nextForwardToken": token})
        assert cluster.run_command("sql:1", ["query", "SELECT 1"], lines.append) == 3
    assert lines == ["1", "2"]


def test_task_that_did_not_start_is_reported(cluster: "Cluster") -> None:
    from infrastructure.errors import DeployError

    with Stubber(cluster._ecs) as ecs:
        _expect_task(ecs, {"containers": [{"name": "sql"}], "stoppedReason": "CannotPullContainerError"})
        with pytest.raises(DeployError, match="could not be run: CannotPullContainerError"):
            cluster.run_command("sql:1", ["query", "SELECT 1"], print)


def test_operation_of_a_missing_deployment_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from infrastructure.deployment import Choices, Deployment
    from infrastructure.environments.staging import STAGING
    from infrastructure.errors import DeployError

    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    deployment = Deployment(STAGING, Choices(session=session), tmp_path, print)
    monkeypatch.setattr(deployment._cloudformation, "outputs", lambda _: {})
    with pytest.raises(DeployError, match=r"no output SqlJob\. Deploy this version first"):
        deployment.run("sql", ["SELECT 1"])


def test_document_names_every_operation() -> None:
    from infrastructure.operations import OPERATIONS

    document = Path("docs/aws.md").read_text(encoding="utf-8")
    named = set(re.findall(r"make run ENVIRONMENT=\w+ TASK=\"([a-z-]+)", document))
    assert named == set(OPERATIONS)


@pytest.mark.parametrize("suspended", [True, False], ids=["stop", "start"])
def test_services_are_stopped_and_started_without_scaling(*, suspended: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from infrastructure.environments.production import PRODUCTION
    from infrastructure.pause import start_services, stop_services

    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    clients = {name: session.client(name) for name in ("ecs", "application-autoscaling")}
    monkeypatch.setattr(session, "client", lambda name, **_: clients[name])
    environment = replace(PRODUCTION, services={"billing": PRODUCTION.services["billing"]})
    names = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
    with Stubber(clients["ecs"]) as ecs, Stubber(clients["application-autoscaling"]) as scaling:
        target = {"ServiceNamespace": "ecs", "ResourceId": "service/c/billing"}
        state = {"ScalableDimension": "ecs:service:DesiredCount", "SuspendedState": dict.fromkeys(names, suspended)}
        scaling.add_response("register_scalable_target", {}, target | state)
        count = 0 if suspended else 2
        ecs.add_response("update_service", {}, {"cluster": "c", "service": "billing", "desiredCount": count})
        (stop_services if suspended else start_services)(session, None, "c", environment)
        ecs.assert_no_pending_responses()
