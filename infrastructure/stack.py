"""The base class of all stacks. Stacks can be deployed without the CDK bootstrap."""

import aws_cdk as cdk
from constructs import Construct, IConstruct

from infrastructure.settings import Environment


class Stack(cdk.Stack):
    """A stack without buckets, assets and custom resources. Its name contains the environment."""

    def __init__(self, scope: Construct, environment: Environment, part: str) -> None:
        name = f"pulsetrack-{environment.name}-{part}"
        super().__init__(
            scope,
            part.capitalize(),
            stack_name=name,
            description=f"PulseTrack {environment.name}: {part}",
            synthesizer=cdk.BootstraplessSynthesizer(),
            termination_protection=environment.keep_data and part == "data",
            suppress_template_indentation=True,  # CloudFormation accepts 51,200 bytes
        )
        cdk.Tags.of(self).add("application", "pulsetrack")
        cdk.Tags.of(self).add("environment", environment.name)


def accept(construct: IConstruct, rule: str, reason: str) -> None:
    """Accepts a finding of a security rule at a construct, with the reason."""
    cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=rule, reason=reason))


def to_logical_id(name: str) -> str:
    """Returns a name in the form of template ids: AuthMigrations for `auth-migrations`."""
    return "".join(part.capitalize() for part in name.replace("_", "-").split("-"))
