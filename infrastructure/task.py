"""Task definitions: one container each, from an image that a stack parameter names, with least privilege."""

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from infrastructure.settings import Architecture, Environment, Scale
from infrastructure.stack import Stack, accept, to_logical_id

REPOSITORY = "pulsetrack"

SCRATCH = "/scratch"
"""The folder for temporary files. The image creates it, with the account of the container as its owner."""

_SCRATCH_MOUNT = ecs.MountPoint(container_path=SCRATCH, source_volume="scratch", read_only=False)

_STOP_SECONDS = 30

_ARCHITECTURES: Mapping[Architecture, ecs.CpuArchitecture] = {
    "x86_64": ecs.CpuArchitecture.X86_64,
    "arm64": ecs.CpuArchitecture.ARM64,
}


class Images:
    """The images of a stack. Parameters of the deployment name their registry and version."""

    def __init__(self, stack: Stack, environment: Environment) -> None:
        self._platform = ecs.RuntimePlatform(
            cpu_architecture=_ARCHITECTURES[environment.architecture],
            operating_system_family=ecs.OperatingSystemFamily.LINUX,
        )
        self._repository = cdk.CfnParameter(
            stack, "Images", default=REPOSITORY, description="The prefix of image names: registry/pulsetrack"
        ).value_as_string
        self._version = cdk.CfnParameter(stack, "Version", default="dev", description="The images' tag").value_as_string

    def task(
        self,
        scope: Construct,
        name: str,
        *,
        image: str,
        version: str = "",
        scale: Scale,
        log: logs.ILogGroup,
        entry_point: Sequence[str] | None = None,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        secrets: Mapping[str, ecs.Secret] | None = None,
        port: int | None = None,
        health_check: ecs.HealthCheck | None = None,
        labels: Mapping[str, str] | None = None,
        scratch_gib: int = 0,
    ) -> ecs.FargateTaskDefinition:
        """Adds a task definition. Only ECS may use AWS: to pull the image, write the log and read the secrets.

        The version is that of the deployment if none is given. `scratch_gib` is the size of a disk at SCRATCH, if any.
        """
        definition = self._add_definition(scope, name, image, scale, scratch_gib)
        container = definition.add_container(
            name,
            image=ecs.ContainerImage.from_registry(f"{self._repository}/{image}:{version or self._version}"),
            entry_point=entry_point,
            command=command,
            environment=environment or {},
            secrets=secrets or {},
            port_mappings=[ecs.PortMapping(container_port=port)] if port else None,
            health_check=health_check,
            docker_labels=labels,
            readonly_root_filesystem=True,
            stop_timeout=cdk.Duration.seconds(_STOP_SECONDS),
            logging=ecs.LogDrivers.aws_logs(stream_prefix=name, log_group=log, mode=ecs.AwsLogDriverMode.NON_BLOCKING),
        )
        if scratch_gib:
            container.add_mount_points(_SCRATCH_MOUNT)
        return definition

    def _add_definition(
        self, scope: Construct, name: str, image: str, scale: Scale, scratch_gib: int
    ) -> ecs.FargateTaskDefinition:
        definition = ecs.FargateTaskDefinition(
            scope,
            f"{to_logical_id(name)}Task",
            cpu=scale.cpu,
            memory_limit_mib=scale.memory_mib,
            runtime_platform=self._platform,
            ephemeral_storage_gib=scratch_gib or None,
            volumes=[ecs.Volume(name="scratch")] if scratch_gib else None,
        )
        _allow_pull(definition, image)
        reason = "The variables contain no secrets. Those come from Secrets Manager."
        accept(definition, "AwsSolutions::AwsSolutions-ECS2", reason)
        return definition


def build_health_check(*command: str) -> ecs.HealthCheck:
    """Returns a health check that runs a command in the container. ECS replaces unhealthy tasks."""
    return ecs.HealthCheck(
        command=["CMD", *command],
        interval=cdk.Duration.seconds(10),
        timeout=cdk.Duration.seconds(5),
        retries=3,
        start_period=cdk.Duration.seconds(30),
    )


def _allow_pull(definition: ecs.FargateTaskDefinition, image: str) -> None:
    """Allows the task's execution role to pull one image from the account's registry."""
    role = definition.obtain_execution_role()
    name = f"{REPOSITORY}/{image}"
    repository = cdk.Stack.of(definition).format_arn(service="ecr", resource="repository", resource_name=name)
    pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    role.add_to_principal_policy(iam.PolicyStatement(actions=pull, resources=[repository]))
    role.add_to_principal_policy(iam.PolicyStatement(actions=["ecr:GetAuthorizationToken"], resources=["*"]))
    accept(role, "AwsSolutions::AwsSolutions-IAM5[Resource::*]", "GetAuthorizationToken does not apply to a resource.")
