"""Deploys the unmodified templates of the localstack environment to LocalStack core, the open edition of LocalStack.

It has no ECS, RDS, load balancers and Cloud Map, so nothing runs. docs/localstack.md says what this proves.
"""

import json
import logging
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.infrastructure.resource_table import read_table

if TYPE_CHECKING:
    from infrastructure.cloudformation import CloudFormation
    from tests.infrastructure.localstack_core import LocalStackCore

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = {
    "jobs": {"Images": "pulsetrack", "Version": "dev"},
    "services": {"Images": "pulsetrack", "Version": "dev", "KafkaBootstrap": "kafka:9092"},
}


@dataclass
class Deployed:
    """The stacks on LocalStack core, with the numbers of created and missing resources by type."""

    core: "LocalStackCore"
    cloudformation: "CloudFormation"
    created: Counter[str]
    missing: Counter[str]

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs cdk or cdklocal on the project's cdk.json."""
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        quiet = {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1", "NODE_NO_WARNINGS": "1"}
        variables = self.core.variables() | quiet
        # cdklocal removes AWS variables that it does not know.
        variables["AWS_ENDPOINT_URL_S3"] = variables["AWS_ENDPOINT_URL"].replace("127.0.0.1", "s3.localhost")
        command = [program, *arguments, "--ci", "--no-notices"]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=ROOT, env=_environment() | variables
        )


def _environment() -> dict[str, str]:
    """Returns the variables of this process without those of AWS, which could name a real account."""
    return {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}


@pytest.fixture(scope="module")
def deployed(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """All stacks, deployed in order. Reports the resources by type."""
    from infrastructure.app import synthesize
    from infrastructure.cloudformation import CloudFormation
    from infrastructure.environments.localstack import LOCALSTACK
    from tests.infrastructure.localstack_core import LocalStackCore, NotAvailableError, install

    try:
        install()
    except NotAvailableError as error:
        pytest.skip(f"LocalStack core is not available: {error}")
    folder = tmp_path_factory.mktemp("core")
    with LocalStackCore() as core:
        cloudformation = CloudFormation(core.session(), core.endpoint, bucket="templates")
        created, missing = Counter[str](), Counter[str]()
        for stack in synthesize(LOCALSTACK, folder):
            parameters = PARAMETERS.get(stack.node.id.lower(), {})
            cloudformation.put(stack.stack_name, folder / stack.template_file, parameters, protect=False)
            for kind, (count, others) in cloudformation.count_resources(stack.stack_name).items():
                created[kind] += count
                missing[kind] += others
        for kind in sorted(created):
            state = f"{created[kind]} deployed" if created[kind] else f"{missing[kind]} missing"
            logging.getLogger(__name__).info("%-48s %s", kind, state)
        yield Deployed(core, cloudformation, +created, +missing)


def test_created_and_missing_resources_are_those_of_the_document(deployed: Deployed) -> None:
    table = read_table()
    assert {kind: row.number for kind, row in table.items() if row.core == "created"} == deployed.created
    assert {kind: row.number for kind, row in table.items() if row.core == "missing"} == deployed.missing


def test_missing_services_and_their_editions_are_named(deployed: Deployed) -> None:
    from infrastructure.localstack import editions, engine

    sentence = editions.describe_missing(engine.read_health(deployed.core.endpoint))
    assert sentence == (
        "LocalStack 4.14.0 (unknown edition) lacks application-autoscaling, ecr, ecs, elbv2, rds (edition Base), and"
        " servicediscovery (edition Ultimate)."
    )


def test_certificates_are_stored_once_in_their_secrets(deployed: Deployed) -> None:
    from infrastructure.certificates import CertificateSecrets

    outputs = deployed.cloudformation.outputs("pulsetrack-localstack-data")
    client = deployed.core.session().client("secretsmanager", endpoint_url=deployed.core.endpoint)
    secrets = CertificateSecrets(client, outputs)
    version = secrets.renew(rotate=False)
    assert secrets.renew(rotate=False) == version
    assert secrets.renew(rotate=True) != version


def test_second_deployment_changes_nothing(deployed: Deployed, tmp_path: Path) -> None:
    from infrastructure.app import synthesize
    from infrastructure.environments.localstack import LOCALSTACK

    for stack in synthesize(LOCALSTACK, tmp_path):
        parameters = PARAMETERS.get(stack.node.id.lower(), {})
        deployed.cloudformation.put(stack.stack_name, tmp_path / stack.template_file, parameters, protect=False)
    client = deployed.core.session().client("cloudformation", endpoint_url=deployed.core.endpoint)
    assert {each["StackStatus"] for each in client.describe_stacks()["Stacks"]} == {"CREATE_COMPLETE"}


def test_cdk_diff_is_clean_after_a_deployment(deployed: Deployed) -> None:
    diff = deployed.run("cdk", "diff", "--fail")
    assert diff.returncode == 0, diff.stdout + diff.stderr


def test_cdk_and_cdklocal_deploy_and_destroy_a_stack(deployed: Deployed) -> None:
    for program in ("cdklocal", "cdk"):
        for arguments in (("destroy", "--force"), ("deploy", "--require-approval", "never")):
            run = deployed.run(program, arguments[0], "Monitoring", "--exclusively", *arguments[1:])
            assert run.returncode == 0, run.stdout + run.stderr
        counts = deployed.cloudformation.count_resources("pulsetrack-localstack-monitoring")
        assert counts == {"AWS::CloudWatch::Alarm": (read_table()["AWS::CloudWatch::Alarm"].number, 0)}


def test_large_template_is_uploaded(deployed: Deployed, tmp_path: Path) -> None:
    deployed.core.session().client("s3", endpoint_url=deployed.core.endpoint).create_bucket(Bucket="templates")
    template = tmp_path / "large.json"
    log = {"Type": "AWS::Logs::LogGroup", "Metadata": {"padding": "x" * 60_000}}
    template.write_text(json.dumps({"Resources": {"Log": log}}), encoding="utf-8")
    deployed.cloudformation.put("pulsetrack-large", template, {}, protect=False)
    assert deployed.cloudformation.count_resources("pulsetrack-large") == {"AWS::Logs::LogGroup": (1, 0)}


def test_unsupported_resource_is_named(deployed: Deployed, tmp_path: Path) -> None:
    template = tmp_path / "unsupported.json"
    template.write_text(json.dumps({"Resources": {"Flow": {"Type": "AWS::EC2::FlowLog"}}}), encoding="utf-8")
    deployed.cloudformation.put("pulsetrack-unsupported", template, {}, protect=False)
    assert deployed.cloudformation.count_resources("pulsetrack-unsupported") == {"AWS::EC2::FlowLog": (0, 1)}


def test_changes_are_confirmed_before_they_are_made(deployed: Deployed, tmp_path: Path) -> None:
    from infrastructure.cloudformation import CloudFormation
    from infrastructure.errors import DeployError

    template = tmp_path / "confirmed.json"
    asked: list[tuple[str, list[str]]] = []
    answers = [True, False]

    def confirm(stack: str, changes: list[str]) -> bool:
        asked.append((stack, changes))
        return answers[len(asked) - 1]

    client = CloudFormation(deployed.core.session(), deployed.core.endpoint, confirm=confirm)
    template.write_text(json.dumps({"Resources": {"Log": {"Type": "AWS::Logs::LogGroup"}}}), encoding="utf-8")
    client.put("pulsetrack-confirmed", template, {}, protect=False)
    client.put("pulsetrack-confirmed", template, {}, protect=False)  # no change, so it is not asked
    template.write_text(json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}), encoding="utf-8")
    with pytest.raises(DeployError, match="not confirmed"):
        client.put("pulsetrack-confirmed", template, {}, protect=False)
    assert asked[0] == ("pulsetrack-confirmed", ["Add Log (AWS::Logs::LogGroup)"])
    assert sorted(asked[1][1]) == ["Add Topic (AWS::SNS::Topic)", "Remove Log (AWS::Logs::LogGroup)"]
    assert client.count_resources("pulsetrack-confirmed") == {"AWS::Logs::LogGroup": (1, 0)}
