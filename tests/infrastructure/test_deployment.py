"""How a deployment reports failures of CloudFormation and ECS, with responses as the endpoints give them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

if TYPE_CHECKING:
    from infrastructure.cloudformation import CloudFormation
    from infrastructure.tasks import Cluster

OLD, NEW = "arn:aws:ecs:us-east-1:0:task-definition/billing:1", "task-definition/billing:2"
OUTPUTS = {"ClusterName": "c", "LogGroup": "log", "Subnets": "s", "SecurityGroup": "g"}


def session() -> Any:
    return boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")


@pytest.fixture
def cloudformation() -> Iterator[tuple["CloudFormation", Stubber]]:
    from infrastructure.cloudformation import CloudFormation

    client = CloudFormation(session(), "http://127.0.0.1:1")
    with Stubber(client._client) as stubber:
        yield client, stubber


@pytest.fixture
def cluster() -> "Cluster":
    from infrastructure.tasks import Cluster

    return Cluster(session(), "http://127.0.0.1:1", OUTPUTS)


def _stack(**fields: str) -> dict[str, Any]:
    return {"Stacks": [{"StackName": "s", "StackId": "id", "CreationTime": "2026-01-01T00:00:00Z", **fields}]}


def _event(status: str, kind: str, **fields: str) -> dict[str, Any]:
    common = {"StackId": "id", "EventId": status + kind, "StackName": "s", "Timestamp": "2026-01-01T00:00:00Z"}
    return {**common, "LogicalResourceId": kind, "ResourceType": f"AWS::{kind}", "ResourceStatus": status, **fields}


def test_failed_stack_is_reported_with_all_reasons(
    cloudformation: tuple["CloudFormation", Stubber], tmp_path: Path
) -> None:
    from infrastructure.errors import DeployError

    client, stubber = cloudformation
    stubber.add_client_error("describe_stacks", service_message="Stack s does not exist")
    stubber.add_response("create_stack", {"StackId": "id"})
    failed = _stack(StackStatus="CREATE_FAILED", StackStatusReason="Resource types not supported: AWS::EC2::FlowLog")
    stubber.add_response("describe_stacks", failed)
    stubber.add_response("describe_stacks", failed)
    events = [_event("CREATE_FAILED", "Stack"), _event("CREATE_FAILED", "VPC", ResourceStatusReason="no room")]
    stubber.add_response("describe_stack_events", {"StackEvents": events}, {"StackName": "id"})
    template = tmp_path / "template.json"
    template.write_text("{}")
    with pytest.raises(DeployError, match=r"s failed: VPC \(AWS::VPC\): no room; Resource types not supported"):
        client.put("s", template, {}, protect=False)


def test_job_log_is_found_under_the_names_of_ecs_and_of_localstack(cluster: "Cluster") -> None:
    task = {"containers": [{"name": "databases"}], "taskArn": "arn:aws:ecs:us-east-1:0:task/c/7f0e"}
    for stream in ("databases/databases/7f0e", "databases/ls-ecs-c-7f0e-0-a1afaa9d/7f0e"):
        with Stubber(cluster._logs) as stubber:
            streams = [{"logStreamName": "databases/databases/aaaa"}, {"logStreamName": stream}]
            stubber.add_response("describe_log_streams", {"logStreams": streams})
            expected = {"logGroupName": "log", "logStreamName": stream, "limit": 20}
            stubber.add_response("get_log_events", {"events": [{"message": "no such host"}]}, expected)
            assert cluster._read_log(task) == "no such host"


def _service(*deployments: tuple[str, str, str]) -> dict[str, Any]:
    described = [{"id": name, "status": status, "taskDefinition": task} for name, status, task in deployments]
    common = {"serviceName": "billing", "status": "ACTIVE", "taskDefinition": deployments[0][2]}
    return {"services": [{**common, "deployments": described}], "failures": []}


def test_service_that_cloudformation_did_not_update_is_updated(cluster: "Cluster") -> None:
    with Stubber(cluster._ecs) as stubber:
        stubber.add_response("describe_services", _service(("d1", "PRIMARY", OLD)))
        stubber.add_response("describe_services", _service(("d1", "PRIMARY", OLD)))
        expected = {"cluster": "c", "service": "billing", "taskDefinition": NEW}
        stubber.add_response("update_service", {}, expected)
        before = cluster.list_deployments(["billing"])
        assert cluster.update_services({"billing": NEW}, before) == ["billing"]


def test_task_definition_that_cloudformation_kept_is_reported(cluster: "Cluster") -> None:
    from infrastructure.errors import DeployError

    with Stubber(cluster._ecs) as stubber:
        container = {"name": "billing", "image": "registry/pulsetrack/billing:1"}
        stubber.add_response("describe_task_definition", {"taskDefinition": {"containerDefinitions": [container]}})
        with pytest.raises(DeployError, match=r"billing was updated, but it still has the image .*:1\."):
            cluster.check_images([OLD], "2")


@pytest.mark.parametrize(
    "after",
    [
        [("d2", "PRIMARY", NEW), ("d1", "ACTIVE", OLD)],
        [("d1", "PRIMARY", OLD), ("d2", "INACTIVE", NEW)],
        [("d3", "PRIMARY", OLD)],
    ],
    ids=["rolling", "rolled back", "rolled back by a new deployment"],
)
def test_service_that_is_being_updated_is_left_alone(cluster: "Cluster", after: list[tuple[str, str, str]]) -> None:
    with Stubber(cluster._ecs) as stubber:
        stubber.add_response("describe_services", _service(*after))
        assert cluster.update_services({"billing": NEW}, {"billing": "d1"}) == []


def test_external_kafka_must_be_named(tmp_path: Path) -> None:
    from infrastructure.deployment import Choices, Deployment
    from infrastructure.environments.localstack import LOCALSTACK
    from infrastructure.errors import DeployError

    with pytest.raises(DeployError, match="Set PULSETRACK_KAFKA"):
        Deployment(LOCALSTACK, Choices(session=session()), tmp_path, print).deploy()
