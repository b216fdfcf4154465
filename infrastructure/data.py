"""The data stack: Postgres, Kafka and the secrets."""

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from aws_cdk import aws_msk as msk
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from deploy.topology import BACKUP, CERTIFICATE_NAMES, OPERATOR, TOPOLOGY, database_name, owner_name
from infrastructure.certificates import AUTHORITIES, certificate_output
from infrastructure.kafka_users import REQUIRE_USERS, KafkaUser, add_users
from infrastructure.network import DATABASE, KAFKA, PRIVATE, Network
from infrastructure.settings import DatabaseSize, Environment, KafkaSize
from infrastructure.stack import Stack, accept, to_logical_id

KAFKA_VERSION = "3.9.x.kraft"

_PARAMETERS = {
    "rds.force_ssl": "1",
    # Statements and error details contain personal data, and the log is exported to CloudWatch.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}

_ROTATION = "AwsSolutions::AwsSolutions-SMG4"


class Data(Stack):
    """The Postgres server with a database per service, the Kafka cluster, and the secrets in Secrets Manager."""

    def __init__(self, scope: Construct, environment: Environment, network: Network) -> None:
        super().__init__(scope, environment, "data")
        # If the stack cannot be created, the resources that it retains later are deleted, and a retry can create them.
        retain, destroy = cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE, cdk.RemovalPolicy.DESTROY
        self._removal_policy = retain if environment.keep_data else destroy
        # A stack that is created again gets other names, because the resources of the previous one may be retained.
        suffix = cdk.Fn.select(4, cdk.Fn.split("-", cdk.Fn.select(2, cdk.Fn.split("/", self.stack_id))))
        self._name = f"pulsetrack-{environment.name}-{suffix}"
        self.database = self._postgres(environment, network)
        self.kafka_users: Mapping[str, KafkaUser] = {}
        """Kafka's users by name, if brokers require a user."""
        if isinstance(environment.kafka, KafkaSize):
            kafka = self._kafka(environment.kafka, network)
            if environment.kafka.secure:
                self.kafka_users = add_users(self, kafka, prefix=self._name, removal_policy=self._removal_policy)
            # Kafka takes the longest and fails most often. A protected database would prevent the rollback.
            self.database.node.add_dependency(kafka)
            cdk.CfnOutput(self, "KafkaArn", value=kafka.ref)
        roles = [role for service in TOPOLOGY for role in (owner_name(service), database_name(service))]
        self.passwords = {role: self._secret(role, f"The password of the database role {role}") for role in roles}
        self.operator_password = self._secret("operator", f"The password of the database role {OPERATOR}")
        self.backup_password = self._secret("backup", f"The password of the database role {BACKUP}")
        # Contains a random value, which an operator replaces by the private key while a restore needs it.
        self.backup_key = self._secret("restore", "The private key of age that decrypts the backups")
        self.admin_password = self._secret("admin", "The password of the first admin")
        self.key_passphrase = self._secret("key", "What opens the keys that sign tokens")
        self._add_certificates()
        self.client_secrets = self._secret("clients", "Each service's client secret", field="patient")
        cdk.CfnOutput(self, "AdminPasswordSecret", value=self.admin_password.secret_arn)

    @property
    def kafka_name(self) -> str:
        """The name of the MSK cluster, for its metrics."""
        return self._name

    def _add_database_log(self, environment: Environment) -> logs.LogGroup:
        """Adds the log group of the database. If it is missing, RDS creates one that never expires."""
        return logs.LogGroup(
            self,
            "PostgresLogs",
            log_group_name=f"/aws/rds/instance/{self._name}/postgresql",
            retention=logs.RetentionDays.ONE_YEAR if environment.keep_data else logs.RetentionDays.ONE_WEEK,
            removal_policy=self._removal_policy,
        )

    def _credentials(self, size: DatabaseSize) -> tuple[rds.Credentials, secretsmanager.ISecret | None]:
        """Returns the administrator's credentials, and the secret with the password unless RDS creates it."""
        if size.managed_password:
            return rds.Credentials.from_username(size.administrator), None
        secret = self._secret("administrator", "The password of the administrator of the database server")
        return rds.Credentials.from_password(size.administrator, secret.secret_value), secret

    def _postgres(self, environment: Environment, network: Network) -> rds.DatabaseInstance:
        size = environment.database
        credentials, secret = self._credentials(size)
        log = self._add_database_log(environment)
        database = rds.DatabaseInstance(
            self,
            "Postgres",
            instance_identifier=self._name,
            engine=rds.DatabaseInstanceEngine.postgres(
                version=rds.PostgresEngineVersion.of(size.version, size.version)
            ),
            instance_type=ec2.InstanceType(size.instance),
            vpc=network.vpc,
            vpc_subnets=PRIVATE,
            security_groups=[network.groups[DATABASE]],
            publicly_accessible=False,
            credentials=credentials,
            manage_master_user_password=size.managed_password or None,
            parameters={**_PARAMETERS, "max_connections": str(size.max_connections)},
            allocated_storage=size.storage_gib,
            max_allocated_storage=4 * size.storage_gib,
            storage_type=rds.StorageType.GP3,
            storage_encrypted=True,
            multi_az=size.multi_az,
            backup_retention=cdk.Duration.days(size.backup_days),
            delete_automated_backups=not environment.keep_data,
            deletion_protection=environment.keep_data,
            cloudwatch_logs_exports=["postgresql"],
            monitoring_interval=cdk.Duration.seconds(size.monitoring_seconds) if size.monitoring_seconds else None,
            enable_performance_insights=environment.keep_data,
            removal_policy=self._removal_policy,
        )
        database.node.add_dependency(log)
        if secret:
            self.administrator_password = ecs.Secret.from_secrets_manager(secret)
        elif database.secret:
            self.administrator_password = ecs.Secret.from_secrets_manager(database.secret, "password")
        _accept_findings(database, environment)
        return database

    def _kafka(self, size: KafkaSize, network: Network) -> msk.CfnCluster:
        log = logs.LogGroup(
            self, "KafkaLogs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=cdk.RemovalPolicy.DESTROY
        )
        cluster = msk.CfnCluster(
            self,
            "Kafka",
            cluster_name=self._name,
            kafka_version=KAFKA_VERSION,
            number_of_broker_nodes=size.brokers,
            broker_node_group_info=msk.CfnCluster.BrokerNodeGroupInfoProperty(
                instance_type=f"kafka.{size.instance}",
                client_subnets=network.vpc.select_subnets(subnet_group_name="private").subnet_ids,
                security_groups=[network.groups[KAFKA].security_group_id],
                storage_info=msk.CfnCluster.StorageInfoProperty(
                    ebs_storage_info=msk.CfnCluster.EBSStorageInfoProperty(volume_size=size.storage_gib)
                ),
            ),
            encryption_info=msk.CfnCluster.EncryptionInfoProperty(
                encryption_in_transit=msk.CfnCluster.EncryptionInTransitProperty(
                    client_broker="TLS" if size.secure else "TLS_PLAINTEXT", in_cluster=True
                )
            ),
            client_authentication=REQUIRE_USERS if size.secure else None,
            enhanced_monitoring="PER_TOPIC_PER_BROKER",
            logging_info=msk.CfnCluster.LoggingInfoProperty(
                broker_logs=msk.CfnCluster.BrokerLogsProperty(
                    cloud_watch_logs=msk.CfnCluster.CloudWatchLogsProperty(enabled=True, log_group=log.log_group_name)
                )
            ),
        )
        cluster.apply_removal_policy(self._removal_policy)
        if not size.secure:
            accept(cluster, "AwsSolutions::AwsSolutions-MSK2", "The broker of an emulator does not support TLS.")
        return cluster

    def _add_certificates(self) -> None:
        """Adds the secrets that a deployment fills with certificates, and outputs with their ARNs.

        They contain random text until then.
        """
        self.certificates = {
            name: self._secret(f"{name}_certificate", f"The certificate of {name}", field="certificate")
            for name in CERTIFICATE_NAMES
        }
        authorities = self._secret("authorities", "The keys that issue certificates; no task reads them", field="empty")
        for name, secret in {AUTHORITIES: authorities, **self.certificates}.items():
            cdk.CfnOutput(self, certificate_output(name), value=secret.secret_arn)

    def _secret(self, name: str, description: str, *, field: str = "") -> secretsmanager.Secret:
        """Adds a secret of 40 letters and digits. If a field is named, the secret is a JSON object with that field."""
        generated = secretsmanager.SecretStringGenerator(
            password_length=40,
            exclude_punctuation=True,
            generate_string_key=field or None,
            secret_string_template="{}" if field else None,
        )
        secret = secretsmanager.Secret(
            self,
            f"{to_logical_id(name)}Secret",
            description=description,
            generate_secret_string=generated,
            removal_policy=self._removal_policy,
        )
        accept(secret, _ROTATION, "Tasks read it only when they start, so a deployment changes it.")
        return secret


def _accept_findings(database: rds.DatabaseInstance, environment: Environment) -> None:
    for role in (each for each in database.node.children if each.node.id == "MonitoringRole"):
        accept(
            role,
            "AwsSolutions::AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole]",
            "Only this policy exists for enhanced monitoring.",
        )
    accept(database, "AwsSolutions::AwsSolutions-RDS11", "A port that is hard to guess protects nothing.")
    if not environment.database.multi_az:
        accept(database, "AwsSolutions::AwsSolutions-RDS3", "It contains no real records, so downtime is acceptable.")
    if not environment.keep_data:
        accept(database, "AwsSolutions::AwsSolutions-RDS10", "It contains no real records and can be deleted.")
