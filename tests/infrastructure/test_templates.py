"""The contents of the templates of every environment."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.topology import TOPOLOGY

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


def test_stacks_have_the_expected_resources(templates: "Templates") -> None:
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
        *((caller, "database", 5432) for caller in (*TOPOLOGY, "jobs")),
        *((client, server, 9096) for client, server in kafka),
    }


def test_connections_to_postgres_and_kafka_are_encrypted(on_aws: "Templates") -> None:
    [parameters] = on_aws.properties("AWS::RDS::DBParameterGroup")
    assert parameters["Parameters"]["rds.force_ssl"] == "1"
    [cluster] = on_aws.properties("AWS::MSK::Cluster")
    assert cluster["EncryptionInfo"]["EncryptionInTransit"]["ClientBroker"] == "TLS"
    for container in on_aws.containers():
        environment = _read_environment(container)
        verified = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/etc/pulsetrack/database-ca.pem"}
        assert "PULSETRACK_DATABASE_URL" not in environment or verified.items() <= environment.items()
        if "PULSETRACK_KAFKA" in environment:
            url = f"sasl_ssl://{container['Name']}@"
            assert environment["PULSETRACK_KAFKA"] == {"Fn::Join": ["", [url, {"Ref": "KafkaBootstrap"}]]}


def test_reflection_is_disabled(on_aws: "Templates") -> None:
    values = [_read_environment(container).get("PULSETRACK_REFLECTION") for container in on_aws.containers()]
    assert {each for each in values if each} == {"off"}
    assert values.count("off") == 4


def test_sign_up_needs_an_invitation(templates: "Templates") -> None:
    values = [_read_environment(container).get("PULSETRACK_SIGN_UP") for container in templates.containers()]
    assert set(values) == {"invite", None}


def test_only_tasks_of_backups_have_aws_permissions(templates: "Templates") -> None:
    tasks = templates.properties("AWS::ECS::TaskDefinition")
    roles = {task["TaskRoleArn"]["Fn::GetAtt"][0]: task["ContainerDefinitions"][0]["Name"] for task in tasks}
    assert len(roles) == len(tasks) == 13
    permitted: dict[str, set[str]] = {}
    for policy in templates.properties("AWS::IAM::Policy"):
        for role in {role["Ref"] for role in policy["Roles"]} & roles.keys():
            actions = {action for each in policy["PolicyDocument"]["Statement"] for action in _list(each["Action"])}
            permitted[roles[role]] = actions
    encrypt = {"kms:Decrypt", "kms:GenerateDataKey"}
    write = {"s3:PutObject", "s3:AbortMultipartUpload", *encrypt}
    assert permitted == {"backup": write, "maintenance": {*write, "s3:GetObject", "s3:ListBucket"}}
    for role in templates.properties("AWS::IAM::Role"):
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        if statement["Principal"]["Service"] != "monitoring.rds.amazonaws.com":
            assert not role.keys() & {"ManagedPolicyArns", "Policies"}


def test_no_permission_has_a_wildcard(templates: "Templates") -> None:
    for policy in templates.properties("AWS::IAM::Policy"):
        for statement in policy["PolicyDocument"]["Statement"]:
            actions, resources = _list(statement["Action"]), _list(statement["Resource"])
            assert not any("*" in action for action in actions), actions
            if actions != ["ecr:GetAuthorizationToken"]:  # does not apply to a resource
                assert not [each for each in resources if "*" in json.dumps(each) and not _is_in_own_set(each)]


def test_task_can_read_only_its_own_secrets(templates: "Templates") -> None:
    kafka = templates.environment.name != "localstack"
    expected = {
        "auth": {"PulsetrackAuthSecret", "AdminSecret", "KeySecret", "ClientsSecret", "AuthCertificateSecret"},
        "patient": {
            "PulsetrackPatientSecret",
            "ClientsSecret",
            "PatientCertificateSecret",
            *(["PatientKafkaSecret"] if kafka else []),
        },
        "billing": {"PulsetrackBillingSecret", "BillingCertificateSecret"},
        "analytics": {
            "PulsetrackAnalyticsSecret",
            "AnalyticsCertificateSecret",
            *(["AnalyticsKafkaSecret"] if kafka else []),
        },
        "gateway": {"GatewayCertificateSecret"},
        "sql": {"OperatorSecret"},
        "backup": {"BackupSecret"},
    }
    for container in templates.containers():
        if container["Name"] in expected:
            text = json.dumps(container.get("Secrets", []))
            assert set(re.findall(r"OutputRef([A-Za-z]+Secret)", text)) == expected[container["Name"]]


def test_no_secret_is_in_a_template(templates: "Templates") -> None:
    for secret in templates.properties("AWS::SecretsManager::Secret"):
        assert secret["GenerateSecretString"]["PasswordLength"] == 40
        assert "SecretString" not in secret
    [database] = templates.properties("AWS::RDS::DBInstance")
    if templates.environment.name == "localstack":
        assert database["MasterUserPassword"]["Fn::Join"][1][0] == "{{resolve:secretsmanager:"
    else:
        assert database["ManageMasterUserPassword"] is True  # RDS stores and rotates it
        assert "MasterUserPassword" not in database
    for container in templates.containers():
        for name, value in _read_environment(container).items():
            assert not re.search("SECRET|PASSWORD|PASSPHRASE|TOKEN|KEY", name), name
            assert not re.search(r"://[^/@]*:[^/@]*@", json.dumps(value)), name


def test_endpoints_permit_only_what_tasks_do(templates: "Templates") -> None:
    endpoints = templates.properties("AWS::EC2::VPCEndpoint")
    assert len(endpoints) == 5
    permitted = set()
    for endpoint in endpoints:
        for statement in endpoint["PolicyDocument"]["Statement"]:
            actions = _list(statement["Action"])
            permitted |= set(actions)
            account = {"Ref": "AWS::AccountId"}
            if actions == ["s3:GetObject"]:
                assert "starport-layer-bucket" in json.dumps(statement["Resource"])  # the layers of images
            elif "s3:PutObject" in actions:  # of backups
                conditions = {"aws:PrincipalAccount": account, "aws:ResourceAccount": account}
                assert statement["Condition"] == {"StringEquals": conditions}
            else:
                assert statement["Condition"] == {"StringEquals": {"aws:PrincipalAccount": account}}
    assert not any("*" in action or ":Put" in action for action in permitted - {"logs:PutLogEvents", "s3:PutObject"})


def test_container_can_only_write_its_log(templates: "Templates") -> None:
    containers = list(templates.containers())
    assert len(containers) == 13
    for container in containers:
        assert container["ReadonlyRootFilesystem"] is True
        assert container["LogConfiguration"]["LogDriver"] == "awslogs"
        assert not container.get("Privileged")


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
        environment = _read_environment(container)
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


def _read_environment(container: dict[str, Any]) -> dict[str, Any]:
    return {variable["Name"]: variable["Value"] for variable in container.get("Environment", [])}


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


def _is_in_own_set(resource: Any) -> bool:
    """Returns whether a resource is an object of the bucket of backups, or a revision of a task definition."""
    text = json.dumps(resource)
    return any(part in text for part in ('"/backups/*"', '"/audit/*"', ":task-definition/")) or text.endswith(
        ', "/*"]]}'
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_setting_of_an_environment_reaches_only_its_service(tmp_path: Path) -> None:
    from infrastructure.environments.staging import STAGING
    from tests.infrastructure.templates import Templates

    variable = "PULSETRACK_CONCURRENT_SEARCHES"
    containers = Templates(replace(STAGING, settings={"patient": {variable: "4"}}), tmp_path).containers()
    variables_of = {container["Name"]: container.get("Environment", []) for container in containers}
    given = {"Name": variable, "Value": "4"}
    assert [name for name, variables in variables_of.items() if given in variables] == ["patient"]
