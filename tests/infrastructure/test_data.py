"""The templates of the data stack."""

import json
from typing import TYPE_CHECKING

from deploy.topology import TOPOLOGY

if TYPE_CHECKING:
    from tests.infrastructure.templates import Templates


def test_database_is_not_public(templates: "Templates") -> None:
    [database] = templates.properties("AWS::RDS::DBInstance")
    assert database["PubliclyAccessible"] is False
    [subnets] = templates.properties("AWS::RDS::DBSubnetGroup")
    assert len(subnets["SubnetIds"]) == 2
    assert all("privateSubnet" in json.dumps(subnet) for subnet in subnets["SubnetIds"])


def test_stored_data_is_encrypted(templates: "Templates") -> None:
    [database] = templates.properties("AWS::RDS::DBInstance")
    assert database["StorageEncrypted"] is True
    for cluster in templates.properties("AWS::MSK::Cluster"):
        assert cluster["EncryptionInfo"]["EncryptionInTransit"]["InCluster"] is True  # MSK always encrypts its disks


def test_kafka_accepts_only_users_with_a_password_by_tls(on_aws: "Templates") -> None:
    [cluster] = on_aws.properties("AWS::MSK::Cluster")
    assert cluster["ClientAuthentication"] == {
        "Sasl": {"Scram": {"Enabled": True}},
        "Unauthenticated": {"Enabled": False},
    }
    assert cluster["EncryptionInfo"]["EncryptionInTransit"] == {"ClientBroker": "TLS", "InCluster": True}


def test_each_service_that_uses_kafka_is_a_user(on_aws: "Templates") -> None:
    [key] = on_aws["data"].find_resources("AWS::KMS::Key")
    users = {
        name: secret["Properties"]
        for name, secret in on_aws.resources("AWS::SecretsManager::Secret").items()
        if "AmazonMSK_" in json.dumps(secret["Properties"].get("Name", ""))
    }
    templates = [json.loads(each["GenerateSecretString"]["SecretStringTemplate"]) for each in users.values()]
    names = {service.name for service in TOPOLOGY.values() if service.uses_kafka}
    assert {template["username"] for template in templates} == names
    assert all(each["GenerateSecretString"]["GenerateStringKey"] == "password" for each in users.values())
    assert all(each["KmsKeyId"] == {"Fn::GetAtt": [key, "Arn"]} for each in users.values())
    [association] = on_aws.properties("AWS::MSK::BatchScramSecret")
    assert association == {"ClusterArn": {"Ref": "Kafka"}, "SecretArnList": [{"Ref": name} for name in users]}


def test_password_of_a_kafka_user_can_be_decrypted_by_its_task_only(on_aws: "Templates") -> None:
    decrypting = {
        policy["Roles"][0]["Ref"].partition("Task")[0]
        for policy in on_aws.properties("AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Action"] == "kms:Decrypt"
    }
    assert decrypting == {"Patient", "Analytics"}


def test_postgres_logs_no_row_and_no_statement(on_aws: "Templates") -> None:
    [parameters] = on_aws.properties("AWS::RDS::DBParameterGroup")
    expected = {
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
    }
    assert parameters["Parameters"].items() >= expected.items()


def test_log_of_postgres_expires(on_aws: "Templates") -> None:
    [database] = on_aws.resources("AWS::RDS::DBInstance").values()
    [(name, log)] = [
        (name, log)
        for name, log in on_aws.resources("AWS::Logs::LogGroup").items()
        if "/aws/rds/instance/" in json.dumps(log["Properties"].get("LogGroupName"))
    ]
    assert log["Properties"]["RetentionInDays"] in {7, 365}
    identifier = json.dumps(database["Properties"]["DBInstanceIdentifier"]["Fn::Join"][1][1:])[1:-1]
    assert identifier in json.dumps(log["Properties"]["LogGroupName"])
    assert name in database["DependsOn"]  # otherwise RDS creates it, without retention


def test_database_server_is_monitored(on_aws: "Templates") -> None:
    [database] = on_aws.properties("AWS::RDS::DBInstance")
    assert database["MonitoringInterval"] == 60


def test_production_retains_data(production: "Templates") -> None:
    for kind in ("AWS::RDS::DBInstance", "AWS::MSK::Cluster", "AWS::SecretsManager::Secret"):
        for resource in production.resources(kind).values():
            assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    [database] = production.properties("AWS::RDS::DBInstance")
    assert (database["DeletionProtection"], database["MultiAZ"], database["BackupRetentionPeriod"]) == (True, True, 35)


def test_failed_creation_of_production_can_be_retried(production: "Templates") -> None:
    [(kafka, cluster)] = production.resources("AWS::MSK::Cluster").items()
    [database] = production.resources("AWS::RDS::DBInstance").values()
    assert "AWS::StackId" in json.dumps(cluster["Properties"]["ClusterName"])  # a retained cluster keeps its name
    assert kafka in database["DependsOn"]  # a protected database cannot be rolled back when Kafka fails


def test_connections_suffice_for_twice_the_tasks(templates: "Templates") -> None:
    scales = templates.environment.services
    most = sum(scales[name].most for name in TOPOLOGY)
    [parameters] = templates.properties("AWS::RDS::DBParameterGroup")
    assert int(parameters["Parameters"]["max_connections"]) > 2 * most * 10
