"""The backups stack: a bucket, the task that backs up all databases on a schedule, and the task that restores them."""

from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from constructs import Construct

from deploy.topology import BACKUP
from infrastructure.data import Data
from infrastructure.jobs import Jobs, database_environment, read_all_passwords
from infrastructure.network import JOBS, PRIVATE, Network
from infrastructure.settings import Environment, Scale
from infrastructure.stack import Stack, accept
from infrastructure.task import SCRATCH, Images

_SCALE = Scale(least=1, most=1, cpu=512, memory_mib=1024)
_PROGRAM = "tools.backup.cloud"
_BACKUPS, _ARCHIVES = "backups/*", "audit/*"
"""The objects of backups, which expire, and of the audit log's archives, which do not."""
_NONCURRENT_DAYS = 7


class Backups(Stack):
    """Logical backups, in addition to the snapshots of RDS."""

    def __init__(self, scope: Construct, environment: Environment, *, network: Network, data: Data, jobs: Jobs) -> None:
        super().__init__(scope, environment, "backups")
        self._environment, self._data, self._jobs = environment, data, jobs
        self._images = Images(self, environment)
        self._key = kms.Key(self, "Key", enable_key_rotation=True, removal_policy=self._removal_policy)
        self._bucket = self._add_bucket()
        backup = self._add_backup()
        self._add_maintenance()
        target = targets.EcsRunFargateTask(
            jobs.cluster,
            task_definition=backup,
            vpc_subnets=PRIVATE,
            security_groups=[network.groups[JOBS]],
            retry_attempts=2,
            max_event_age=cdk.Duration.hours(1),
            role=self._add_scheduler_role(backup).without_policy_updates(),
        )
        rate = scheduler.ScheduleExpression.rate(cdk.Duration.hours(environment.backup.hours))
        scheduler.Schedule(self, "Schedule", schedule=rate, target=target)
        accept(self._bucket, "AwsSolutions::AwsSolutions-S1", "Only two tasks use it, and CloudTrail can record them.")

    @property
    def _removal_policy(self) -> cdk.RemovalPolicy:
        retain = cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
        return retain if self._environment.keep_data else cdk.RemovalPolicy.DESTROY

    def _add_bucket(self) -> s3.Bucket:
        plan = self._environment.backup
        day = cdk.Duration.days(1)
        bucket = s3.Bucket(
            self,
            "Bucket",
            versioned=True,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=self._key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            object_lock_default_retention=(
                s3.ObjectLockRetention.governance(cdk.Duration.days(plan.lock_days)) if plan.lock_days else None
            ),
            lifecycle_rules=[
                s3.LifecycleRule(prefix=_BACKUPS.rstrip("*"), expiration=cdk.Duration.days(plan.retention_days)),
                s3.LifecycleRule(
                    noncurrent_version_expiration=cdk.Duration.days(_NONCURRENT_DAYS),
                    abort_incomplete_multipart_upload_after=day,
                ),
            ],
            removal_policy=self._removal_policy,
        )
        cdk.CfnOutput(self, "BucketName", value=bucket.bucket_name)
        return bucket

    def _add_backup(self) -> ecs.FargateTaskDefinition:
        """Adds the task of the schedule. It reads all tables, and can neither read nor delete a backup."""
        password = {"PGPASSWORD": ecs.Secret.from_secrets_manager(self._data.backup_password)}
        recipient = self._environment.backup.recipient
        variables = {"PULSETRACK_BACKUP_RECIPIENT": recipient} if recipient else {}
        definition = self._add_task("backup", "create", BACKUP, variables, password)
        self._permit(definition, ["s3:PutObject", "s3:AbortMultipartUpload"], _BACKUPS)
        return definition

    def _add_scheduler_role(self, backup: ecs.FargateTaskDefinition) -> iam.Role:
        """Adds the role that starts the task. The policy of the CDK names a resource that LocalStack core lacks."""
        account = {"StringEquals": {"aws:SourceAccount": self.account}}
        scheduler_service = iam.ServicePrincipal("scheduler.amazonaws.com", conditions=account)
        role = iam.Role(self, "SchedulerRole", assumed_by=scheduler_service)
        name = f"{backup.family}:*"
        definitions = self.format_arn(service="ecs", resource="task-definition", resource_name=name)
        cluster = {"ArnEquals": {"ecs:cluster": self._jobs.cluster.cluster_arn}}
        role.add_to_policy(iam.PolicyStatement(actions=["ecs:RunTask"], resources=[definitions], conditions=cluster))
        passed = [backup.task_role.role_arn, backup.obtain_execution_role().role_arn]
        role.add_to_policy(iam.PolicyStatement(actions=["iam:PassRole"], resources=passed))
        found = f"Resource::arn:<AWS::Partition>:ecs:<AWS::Region>:<AWS::AccountId>:task-definition/{name}"
        accept(role, f"AwsSolutions::AwsSolutions-IAM5[{found}]", "Each deployment adds a revision.")
        return role

    def _add_maintenance(self) -> None:
        """Adds the task that only operators start: it restores backups, and archives the audit log."""
        secrets = read_all_passwords(self._data)
        if self._environment.backup.recipient:
            secrets["PULSETRACK_BACKUP_KEY"] = ecs.Secret.from_secrets_manager(self._data.backup_key)
        definition = self._add_task("maintenance", "list", self._environment.database.administrator, {}, secrets)
        self._permit(definition, ["s3:GetObject"], "*")
        self._permit(definition, ["s3:PutObject", "s3:AbortMultipartUpload"], _ARCHIVES)
        statement = iam.PolicyStatement(actions=["s3:ListBucket"], resources=[self._bucket.bucket_arn])
        definition.add_to_task_role_policy(statement)

    def _add_task(
        self, name: str, command: str, role: str, variables: dict[str, str], secrets: dict[str, ecs.Secret]
    ) -> ecs.FargateTaskDefinition:
        definition = self._images.task(
            self,
            name,
            image="backup",
            scale=_SCALE,
            log=self._jobs.log,
            command=[_PROGRAM, command],
            environment={
                **database_environment(self._environment, self._data, role, "postgres"),
                "PULSETRACK_BACKUP_BUCKET": self._bucket.bucket_name,
                "TMPDIR": SCRATCH,
                **variables,
            },
            secrets=secrets,
            scratch_gib=self._environment.backup.scratch_gib,
        )
        cdk.CfnOutput(self, f"{name.capitalize()}Definition", value=definition.task_definition_arn)
        return definition

    def _permit(self, definition: ecs.FargateTaskDefinition, actions: list[str], objects: str) -> None:
        """Permits actions on objects of the bucket, and to encrypt and decrypt them."""
        resource = self._bucket.arn_for_objects(objects)
        definition.add_to_task_role_policy(iam.PolicyStatement(actions=actions, resources=[resource]))
        use = iam.PolicyStatement(actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=[self._key.key_arn])
        definition.add_to_task_role_policy(use)
        bucket = self.get_logical_id(cast("cdk.CfnElement", self._bucket.node.default_child))
        rule = f"AwsSolutions::AwsSolutions-IAM5[Resource::<{bucket}.Arn>/{objects}]"
        accept(definition, rule, "The names of the objects are not known in advance.")
