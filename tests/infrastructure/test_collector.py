"""The OpenTelemetry collector: its configurations, and its service on AWS."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deploy.topology import COLLECTOR, GATEWAY, TOPOLOGY
from tests.infrastructure.containers import read_environment

if TYPE_CHECKING:
    from tests.infrastructure.templates import Templates

FOLDER = Path("deploy/collector")
CONFIGURATIONS = sorted(FOLDER.glob("*.yaml"))
PROGRAM = shutil.which("otelcol-contrib") or shutil.which("otelcol")


@pytest.fixture(scope="module")
def traced(installed: None, tmp_path_factory: pytest.TempPathFactory) -> "Templates":
    """The templates of an environment whose traces are sent to X-Ray, and which sends mail."""
    from infrastructure.environments.staging import STAGING
    from infrastructure.settings import Mail, Telemetry
    from tests.infrastructure.templates import Templates

    mail = Mail(secret="pulsetrack/smtp-url", sender="no-reply@clinic.example")
    return Templates(replace(STAGING, telemetry=Telemetry(), mail=mail), tmp_path_factory.mktemp("traced"))


def _find_container(templates: "Templates", name: str) -> dict[str, Any]:
    [container] = [container for container in templates.containers() if container["Name"] == name]
    return container


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.stem)
def test_pipelines_consist_of_configured_components(file: Path) -> None:
    configuration = yaml.safe_load(file.read_text(encoding="utf-8"))
    service = configuration["service"]
    used: dict[str, set[str]] = {"extensions": set(service["extensions"])}
    for pipeline in service["pipelines"].values():
        for kind, names in pipeline.items():
            used.setdefault(kind, set()).update(names)
    assert used == {kind: set(components) for kind, components in configuration.items() if kind != "service"}


@pytest.mark.skipif(PROGRAM is None, reason="no collector (otelcol-contrib) is installed")
@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.stem)
def test_collector_accepts_the_configuration(file: Path) -> None:
    settings = {"AWS_REGION": "us-east-1", "OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    account = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    command = [str(PROGRAM), "validate", "--config", str(file)]
    process = subprocess.run(command, env={**os.environ, **settings, **account}, check=False, capture_output=True)
    assert process.returncode == 0, process.stderr.decode()


def test_version_is_that_of_compose(traced: "Templates") -> None:
    compose = yaml.safe_load(Path("docker-compose.yml").read_text(encoding="utf-8"))
    version = compose["services"]["collector"]["image"].rpartition(":")[2]
    assert _find_container(traced, COLLECTOR)["Image"]["Fn::Join"][1][-1] == f"/collector:{version}"


def test_environments_have_no_collector_by_default(templates: "Templates") -> None:
    assert COLLECTOR not in {container["Name"] for container in templates.containers()}
    assert _find_container(templates, GATEWAY)["Command"][1] == "/etc/envoy/cloud.yaml"


def test_gateway_and_services_send_traces_to_the_collector(traced: "Templates") -> None:
    assert _find_container(traced, GATEWAY)["Command"][1] == "/etc/envoy/cloud-traced.yaml"
    address = {"Name": "PULSETRACK_OTLP_ENDPOINT", "Value": "collector.pulsetrack.internal:4317"}
    assert all(address in _find_container(traced, service)["Environment"] for service in TOPOLOGY)
    names = {name["Name"] for name in traced.properties("AWS::ServiceDiscovery::Service")}
    assert names == {*TOPOLOGY, COLLECTOR}
    assert "--otlp collector.pulsetrack.internal:4317" in Path("envoy/Dockerfile").read_text(encoding="utf-8")


def test_collector_may_only_write_traces(traced: "Templates") -> None:
    [task] = [
        task
        for task in traced.properties("AWS::ECS::TaskDefinition")
        if task["ContainerDefinitions"][0]["Name"] == COLLECTOR
    ]
    role = task["TaskRoleArn"]["Fn::GetAtt"][0]
    statements = [
        statement
        for policy in traced.properties("AWS::IAM::Policy")
        if {"Ref": role} in policy["Roles"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    assert [statement["Action"] for statement in statements] == [
        ["xray:PutTraceSegments", "xray:PutSpans", "xray:PutSpansForIndexing"]
    ]
    configuration = (FOLDER / "xray.yaml").read_text(encoding="utf-8")
    assert task["ContainerDefinitions"][0]["Environment"] == [{"Name": "CONFIGURATION", "Value": configuration}]


def test_only_the_gateway_and_the_services_reach_the_collector() -> None:
    from infrastructure.environments.staging import STAGING
    from infrastructure.network import list_connections
    from infrastructure.settings import Telemetry

    connections = list_connections(replace(STAGING, telemetry=Telemetry()))
    assert {(client, port) for client, server, port in connections if server == COLLECTOR} == {
        (client, 4317) for client in (GATEWAY, *TOPOLOGY)
    }


@pytest.mark.soak
def test_other_receiver_needs_no_permission(installed: None, tmp_path: Path) -> None:
    from infrastructure.environments.staging import STAGING
    from infrastructure.settings import Telemetry
    from tests.infrastructure.templates import Templates

    telemetry = Telemetry(endpoint="http://traces.internal:4318", port=4318)
    templates = Templates(replace(STAGING, telemetry=telemetry), tmp_path)
    container = _find_container(templates, COLLECTOR)
    variables = read_environment(container)
    assert variables["CONFIGURATION"] == (FOLDER / "otlp.yaml").read_text(encoding="utf-8")
    assert variables["OTLP_ENDPOINT"] == "http://traces.internal:4318"
    assert "xray" not in templates.text()


def test_auth_reads_the_url_of_the_mail_server_from_its_secret(traced: "Templates") -> None:
    auth = _find_container(traced, "auth")
    [url] = [each["ValueFrom"] for each in auth["Secrets"] if each["Name"] == "PULSETRACK_SMTP_URL"]
    assert str(url).count("secret:pulsetrack/smtp-url") == 1
    assert {"Name": "PULSETRACK_MAIL_FROM", "Value": "no-reply@clinic.example"} in auth["Environment"]


def test_only_auth_may_connect_to_the_mail_server(traced: "Templates") -> None:
    groups = traced.properties("AWS::EC2::SecurityGroup")
    allowed = {
        group["GroupDescription"]
        for group in groups
        for rule in group.get("SecurityGroupEgress", ())
        if rule["ToPort"] == 587
    }
    assert allowed == {"PulseTrack auth"}
