"""The users of the Kafka cluster: one for each service that uses it, with a password that only that service reads."""

from collections.abc import Mapping
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_msk as msk
from aws_cdk import aws_secretsmanager as secretsmanager

from deploy.topology import KAFKA_PASSWORD, TOPOLOGY
from infrastructure.stack import Stack, accept, to_logical_id

REQUIRE_USERS = msk.CfnCluster.ClientAuthenticationProperty(
    sasl=msk.CfnCluster.SaslProperty(scram=msk.CfnCluster.ScramProperty(enabled=True)),
    unauthenticated=msk.CfnCluster.UnauthenticatedProperty(enabled=False),
)
"""Brokers accept only users with a password (SCRAM-SHA-512)."""


@dataclass(frozen=True)
class KafkaUser:
    """A user's secret, and the key that encrypts it."""

    secret: secretsmanager.Secret
    key: kms.Key

    def pass_password(self, definition: ecs.FargateTaskDefinition) -> None:
        """Passes the password to the task of another stack, whose execution role may then read it.

        The policy of the key does not name the role, because the stack of the role depends on that of the key.
        """
        secret = secretsmanager.Secret.from_secret_complete_arn(definition, "KafkaUser", self.secret.secret_arn)
        if container := definition.default_container:
            container.add_secret(KAFKA_PASSWORD, ecs.Secret.from_secrets_manager(secret, "password"))
        decrypt = iam.PolicyStatement(actions=["kms:Decrypt"], resources=[self.key.key_arn])
        definition.obtain_execution_role().add_to_principal_policy(decrypt)


def add_users(
    stack: Stack, cluster: msk.CfnCluster, *, prefix: str, removal_policy: cdk.RemovalPolicy
) -> Mapping[str, KafkaUser]:
    """Adds a user for each service that uses Kafka, and returns the users by name.

    MSK requires names that begin with AmazonMSK_, and a key of the customer.
    """
    key = kms.Key(
        stack,
        "KafkaKey",
        description="Encrypts the passwords of Kafka's users",
        enable_key_rotation=True,
        removal_policy=removal_policy,
    )
    names = [service.name for service in TOPOLOGY.values() if service.uses_kafka]
    users = {name: KafkaUser(_add_secret(stack, name, prefix, key, removal_policy), key) for name in names}
    msk.CfnBatchScramSecret(
        stack,
        "KafkaUsers",
        cluster_arn=cluster.ref,
        secret_arn_list=[user.secret.secret_arn for user in users.values()],
    )
    return users


def _add_secret(
    stack: Stack, name: str, prefix: str, key: kms.Key, removal_policy: cdk.RemovalPolicy
) -> secretsmanager.Secret:
    secret = secretsmanager.Secret(
        stack,
        f"{to_logical_id(name)}KafkaSecret",
        secret_name=f"AmazonMSK_{prefix}-{name}",
        description=f"The Kafka user {name}",
        encryption_key=key,
        generate_secret_string=secretsmanager.SecretStringGenerator(
            password_length=40,
            exclude_punctuation=True,
            generate_string_key="password",
            secret_string_template=f'{{"username": "{name}"}}',
        ),
        removal_policy=removal_policy,
    )
    accept(secret, "AwsSolutions::AwsSolutions-SMG4", "Tasks read it only when they start, so a deployment changes it.")
    return secret
