"""The task definitions of the templates."""

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.infrastructure.templates import Templates


def test_tasks_of_aws_run_on_x86(on_aws: "Templates") -> None:
    platforms = [task["RuntimePlatform"] for task in on_aws.properties("AWS::ECS::TaskDefinition")]
    assert platforms == [{"CpuArchitecture": "X86_64", "OperatingSystemFamily": "LINUX"}] * 13


def test_environment_can_choose_arm64() -> None:
    import aws_cdk as cdk
    from aws_cdk import aws_logs as logs
    from aws_cdk.assertions import Template

    from infrastructure.environments.staging import STAGING
    from infrastructure.settings import Scale
    from infrastructure.stack import Stack
    from infrastructure.task import Images

    environment = replace(STAGING, architecture="arm64")
    stack = Stack(cdk.App(), environment, "arm")
    log = logs.LogGroup(stack, "Log")
    Images(stack, environment).task(stack, "auth", image="auth", scale=Scale(least=1, most=1), log=log)
    Template.from_stack(stack).has_resource_properties(
        "AWS::ECS::TaskDefinition", {"RuntimePlatform": {"CpuArchitecture": "ARM64"}}
    )
