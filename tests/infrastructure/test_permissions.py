"""The permissions of tasks: to call AWS, and to read secrets."""

import json
import re
from typing import TYPE_CHECKING, Any

from tests.infrastructure.containers import read_environment

if TYPE_CHECKING:
    from tests.infrastructure.templates import Templates


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
        for name, value in read_environment(container).items():
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


def _is_in_own_set(resource: Any) -> bool:
    """Returns whether a resource is an object of the bucket of backups, or a revision of a task definition."""
    text = json.dumps(resource)
    return any(part in text for part in ('"/backups/*"', '"/audit/*"', ":task-definition/")) or text.endswith(
        ', "/*"]]}'
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
