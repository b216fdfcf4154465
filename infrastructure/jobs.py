"""The jobs stack: the ECS cluster, and the tasks that prepare the databases before the services are deployed."""

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from aws_cdk import aws_servicediscovery as servicediscovery
from constructs import Construct

from deploy.topology import (
    BACKUP_PASSWORD,
    MIGRATIONS,
    OPERATOR,
    OPERATOR_PASSWORD,
    TOPOLOGY,
    database_name,
    owner_name,
)
from infrastructure.data import Data
from infrastructure.network import Network
from infrastructure.settings import NAMESPACE, Environment, Scale
from infrastructure.stack import Stack, to_logical_id
from infrastructure.task import Images

_SCALE = Scale(least=1, most=1)
_AUTHORITIES = "/etc/pulsetrack/database-ca.pem"
"""Present in images that were built with DATABASE_CA."""


def database_environment(environment: Environment, data: Data, role: str, database: str) -> dict[str, str]:
    """Returns the variables of a database connection, except for PGPASSWORD. On AWS, both sides require TLS."""
    address = f"{data.database.db_instance_endpoint_address}:{data.database.db_instance_endpoint_port}"
    mode = environment.database.ssl_mode
    return {
        "PULSETRACK_DATABASE_URL": f"postgresql://{role}@{address}/{database}",
        "PGSSLMODE": mode,
        **({"PGSSLROOTCERT": _AUTHORITIES} if mode == "verify-full" else {}),
    }


def read_all_passwords(data: Data) -> dict[str, ecs.Secret]:
    """Returns the secrets of a task that creates databases: the passwords of the administrator and of all roles."""
    passwords = {OPERATOR_PASSWORD: data.operator_password, BACKUP_PASSWORD: data.backup_password}
    for service in TOPOLOGY.values():
        roles = database_name(service.name), owner_name(service.name)
        passwords |= {
            variable: data.passwords[role] for variable, role in zip(service.job_passwords, roles, strict=True)
        }
    secrets = {variable: ecs.Secret.from_secrets_manager(secret) for variable, secret in passwords.items()}
    return {"PGPASSWORD": data.administrator_password, **secrets}


class Jobs(Stack):
    """The cluster, its DNS namespace and its log group, the jobs that prepare the databases, and the task for SQL."""

    def __init__(self, scope: Construct, environment: Environment, network: Network, data: Data) -> None:
        super().__init__(scope, environment, "jobs")
        self._environment = environment
        self.log = logs.LogGroup(
            self,
            "Logs",
            retention=logs.RetentionDays.ONE_YEAR if environment.keep_data else logs.RetentionDays.ONE_WEEK,
            removal_policy=cdk.RemovalPolicy.RETAIN if environment.keep_data else cdk.RemovalPolicy.DESTROY,
        )
        self.cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=network.vpc,
            container_insights_v2=ecs.ContainerInsights.ENABLED,
            default_cloud_map_namespace=ecs.CloudMapNamespaceOptions(
                name=NAMESPACE, type=servicediscovery.NamespaceType.DNS_PRIVATE, vpc=network.vpc
            ),
        )
        self._images = Images(self, environment)
        self._add_databases(data)
        for service in TOPOLOGY:
            self._add_migrations(data, service)
        self._add_sql(data)
        cdk.CfnOutput(self, "ClusterName", value=self.cluster.cluster_name)
        cdk.CfnOutput(self, "LogGroup", value=self.log.log_group_name)

    def _add_databases(self, data: Data) -> None:
        administrator = self._environment.database.administrator
        self._add(
            "databases",
            "databases",
            ["deploy.databases"],
            database_environment(self._environment, data, administrator, "postgres"),
            read_all_passwords(data),
        )

    def _add_migrations(self, data: Data, service: str) -> None:
        owner = owner_name(service)
        self._add(
            f"{service}-migrations",
            service,
            [MIGRATIONS, service],
            {
                **database_environment(self._environment, data, owner, database_name(service)),
                "PULSETRACK_DATABASE_ROLE": database_name(service),
            },
            {"PGPASSWORD": ecs.Secret.from_secrets_manager(data.passwords[owner])},
        )

    def _add_sql(self, data: Data) -> None:
        """Adds the task that runs statements of operators. Its role sees no rows of the services."""
        self._add(
            "sql",
            "databases",
            ["services.common.postgres.query", "SELECT 1"],
            database_environment(self._environment, data, OPERATOR, "postgres"),
            {"PGPASSWORD": ecs.Secret.from_secrets_manager(data.operator_password)},
        )

    def _add(
        self,
        name: str,
        image: str,
        command: list[str],
        environment: dict[str, str],
        secrets: dict[str, ecs.Secret],
    ) -> None:
        definition = self._images.task(
            self,
            name,
            image=image,
            scale=_SCALE,
            log=self.log,
            command=command,
            environment=environment,
            secrets=secrets,
        )
        cdk.CfnOutput(self, f"{to_logical_id(name)}Job", value=definition.task_definition_arn)
