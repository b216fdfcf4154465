"""The contents of the templates of every environment."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.topology import TOPOLOGY
from tests.infrastructure.containers import read_environment

if TYPE_CHECKING:
    from tests.infrastructure.templates import Templates

ANYWHERE = "0.0.0.0/0"


def test_templates_cause_no_warning(templates: "Templates") -> None:
    assert templates.warnings == []


def test_violated_security_rule_fails_the_synthesis(tmp_path: Path) -> None:
    from infrastructure.app import synthesize
    from infrastructure.environments.production import PRODUCTION

    insecure = replace(PRODUCTION, database=replace(PRODUCTION.database, backup_days=0))
    with pytest.raises(RuntimeError, match="AwsSolutions-RDS13"):
        synthesize(insecure, tmp_path)


def test_templates_can_be_deployed_without_a_bucket(templates: "Templates") -> None:
    for file in templates.files:
        assert file.stat().st_size <= 51_200, file.name
    assert not re.search(
        r"Custom::|AWS::CloudFormation::CustomResource|cdk-hnb659fds|BootstrapVersion", templates.text()
    )


def test_stacks_of_data_and_jobs_have_the_expected_resources(templates: "Templates") -> None:
    local = templates.environment.name == "localstack"
    assert templates.counts("data") == {
        **({} if local else {"AWS::IAM::Role": 1, **_KAFKA}),
        "AWS::Logs::LogGroup": 1 if local else 2,
        "AWS::RDS::DBInstance": 1,
        "AWS::RDS::DBParameterGroup": 1,
        "AWS::RDS::DBSubnetGroup": 1,
        # Two roles per service, operator, backup, restore, admin, keys, clients, six certificates, two users of Kafka.
        "AWS::SecretsManager::Secret": 21 if local else 22,
    }
    assert templates.counts("jobs") == {
        "AWS::ECS::Cluster": 1,
        "AWS::ECS::TaskDefinition": 6,
        "AWS::IAM::Policy": 6,
        "AWS::IAM::Role": 12,
        "AWS::Logs::LogGroup": 1,
        "AWS::ServiceDiscovery::PrivateDnsNamespace": 1,
    }
    assert templates.counts("backups") == {
        "AWS::ECS::TaskDefinition": 2,
        "AWS::IAM::Policy": 5,  # two per task, one of the schedule
        "AWS::IAM::Role": 5,
        "AWS::KMS::Key": 1,
        "AWS::S3::Bucket": 1,
        "AWS::S3::BucketPolicy": 1,
        "AWS::Scheduler::Schedule": 1,
    }


def test_stacks_of_services_and_monitoring_have_the_expected_resources(templates: "Templates") -> None:
    local = templates.environment.name == "localstack"
    assert templates.counts("services") == {
        "AWS::ApplicationAutoScaling::ScalableTarget": 5,
        "AWS::ApplicationAutoScaling::ScalingPolicy": 5 if local else 7,  # five by CPU, two by delay
        "AWS::ECS::Service": 5,
        "AWS::ECS::TaskDefinition": 5,
        "AWS::IAM::Policy": 5,
        "AWS::IAM::Role": 10,
        "AWS::ServiceDiscovery::Service": 4,
    }
    assert templates.counts("monitoring") == {
        "AWS::CloudWatch::Alarm": 10 if local else 18,
        **({} if local else {"AWS::CloudWatch::Dashboard": 1, "AWS::Logs::MetricFilter": 4, **_ALARM_TOPIC}),
    }


def test_network_has_private_subnets_and_endpoints_but_no_nat_gateway(templates: "Templates") -> None:
    assert templates.counts("network")["AWS::EC2::Subnet"] == 4
    assert templates.counts("network")["AWS::EC2::VPCEndpoint"] == 5
    assert "AWS::EC2::NatGateway" not in templates.counts("network")


def test_only_the_load_balancer_is_public(on_aws: "Templates") -> None:
    assert _open_to(on_aws, ANYWHERE) == [("PulseTrack door", 443)]


def test_load_balancer_without_a_domain_is_open_to_its_network_only(localstack: "Templates") -> None:
    assert _open_to(localstack, ANYWHERE) == []


def test_security_groups_allow_only_needed_connections(templates: "Templates") -> None:
    names = {logical: group["Properties"]["GroupDescription"] for logical, group in _groups(templates).items()}
    kafka = set() if templates.environment.name == "localstack" else {("patient", "kafka"), ("analytics", "kafka")}
    rules = templates.properties("AWS::EC2::SecurityGroupIngress")
    found = {
        (_group(rule, "SourceSecurityGroupId", names), _group(rule, "GroupId", names), rule["FromPort"])
        for rule in rules
    }
    assert all(rule["FromPort"] == rule["ToPort"] for rule in rules)
    assert found == {
        ("door", "gateway", 8080),
        *(("gateway", service, 50051) for service in ("auth", "patient", "billing", "analytics")),
        *((service, "auth", 50051) for service in ("patient", "billing", "analytics")),
        ("patient", "billing", 50051),
        *((service, "patient", 50051) for service in ("billing", "analytics")),
        *((caller, "database", 5432) for caller in (*TOPOLOGY, "jobs")),
        *((client, server, 9096) for client, server in kafka),
    }


def test_connections_to_postgres_and_kafka_are_encrypted(on_aws: "Templates") -> None:
    [parameters] = on_aws.properties("AWS::RDS::DBParameterGroup")
    assert parameters["Parameters"]["rds.force_ssl"] == "1"
    [cluster] = on_aws.properties("AWS::MSK::Cluster")
    assert cluster["EncryptionInfo"]["EncryptionInTransit"]["ClientBroker"] == "TLS"
    for container in on_aws.containers():
        environment = read_environment(container)
        verified = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/etc/pulsetrack/database-ca.pem"}
        assert "PULSETRACK_DATABASE_URL" not in environment or verified.items() <= environment.items()
        if "PULSETRACK_KAFKA" in environment:
            url = f"sasl_ssl://{container['Name']}@"
            assert environment["PULSETRACK_KAFKA"] == {"Fn::Join": ["", [url, {"Ref": "KafkaBootstrap"}]]}


def test_reflection_is_disabled(on_aws: "Templates") -> None:
    values = [read_environment(container).get("PULSETRACK_REFLECTION") for container in on_aws.containers()]
    assert {each for each in values if each} == {"off"}
    assert values.count("off") == 4


def test_sign_up_needs_an_invitation(templates: "Templates") -> None:
    values = [read_environment(container).get("PULSETRACK_SIGN_UP") for container in templates.containers()]
    assert set(values) == {"invite", None}


def test_failed_deployment_is_rolled_back(templates: "Templates") -> None:
    services = templates.properties("AWS::ECS::Service")
    assert {service["ServiceName"] for service in services} == {*TOPOLOGY, "gateway"}
    for service in services:
        deployment = service["DeploymentConfiguration"]
        assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
        assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)
        assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"


def test_services_have_private_names(templates: "Templates") -> None:
    names = templates.properties("AWS::ServiceDiscovery::Service")
    assert {name["Name"] for name in names} == set(TOPOLOGY)
    assert all(name["DnsConfig"]["DnsRecords"] == [{"TTL": 10, "Type": "A"}] for name in names)


def test_task_serves_until_cached_addresses_expire(templates: "Templates") -> None:
    names = templates.properties("AWS::ServiceDiscovery::Service")
    [ttl] = {name["DnsConfig"]["DnsRecords"][0]["TTL"] for name in names}
    for container in templates.containers():
        environment = read_environment(container)
        if "PULSETRACK_LISTEN" in environment:
            linger, drain = int(environment["PULSETRACK_LINGER_SECONDS"]), int(environment["PULSETRACK_DRAIN_SECONDS"])
            assert ttl + 2 < linger < linger + drain < container["StopTimeout"]


def test_localstack_environment_uses_only_what_localstack_emulates(localstack: "Templates") -> None:
    assert not localstack.kinds() & {"AWS::EC2::FlowLog", "AWS::Logs::MetricFilter", "AWS::MSK::Cluster"}
    [database] = localstack.properties("AWS::RDS::DBInstance")
    assert database["MasterUsername"] != "postgres"
    assert database["EngineVersion"] == "17"


def test_production_is_redundant(production: "Templates") -> None:
    assert all(service["DesiredCount"] == 2 for service in production.properties("AWS::ECS::Service"))
    [cluster] = production.properties("AWS::MSK::Cluster")
    assert cluster["NumberOfBrokerNodes"] >= 2


_KAFKA = dict.fromkeys(("AWS::KMS::Key", "AWS::MSK::BatchScramSecret", "AWS::MSK::Cluster"), 1)
_ALARM_TOPIC = dict.fromkeys(("AWS::KMS::Key", "AWS::SNS::Subscription", "AWS::SNS::Topic", "AWS::SNS::TopicPolicy"), 1)


def _groups(templates: "Templates") -> dict[str, Any]:
    return templates.resources("AWS::EC2::SecurityGroup")


def _open_to(templates: "Templates", addresses: str) -> list[tuple[str, int]]:
    return [
        (group["Properties"]["GroupDescription"], rule["FromPort"])
        for group in _groups(templates).values()
        for rule in group["Properties"].get("SecurityGroupIngress", [])
        if rule.get("CidrIp") == addresses
    ]


def _group(rule: dict[str, Any], field: str, names: dict[str, str]) -> str:
    return names[rule[field]["Fn::GetAtt"][0]].removeprefix("PulseTrack ")


def test_setting_of_an_environment_reaches_only_its_service(tmp_path: Path) -> None:
    from infrastructure.environments.staging import STAGING
    from tests.infrastructure.templates import Templates

    variable = "PULSETRACK_CONCURRENT_SEARCHES"
    containers = Templates(replace(STAGING, settings={"patient": {variable: "4"}}), tmp_path).containers()
    variables_of = {container["Name"]: container.get("Environment", []) for container in containers}
    given = {"Name": variable, "Value": "4"}
    assert [name for name, variables in variables_of.items() if given in variables] == ["patient"]
