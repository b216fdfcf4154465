"""What every stack is: named for its environment, and deployable without CDK's bootstrap."""

import aws_cdk as cdk
from constructs import Construct, IConstruct

from infrastructure.settings import Environment


class Stack(cdk.Stack):
    """A stack that needs no bucket, no assets and no custom resources."""

    def __init__(self, scope: Construct, environment: Environment, part: str) -> None:
        name = f"pulsetrack-{environment.name}-{part}"
        super().__init__(
            scope,
            part.capitalize(),
            stack_name=name,
            description=f"PulseTrack {environment.name}: {part}",
            synthesizer=cdk.BootstraplessSynthesizer(),
            termination_protection=environment.keep_data and part == "data",
            suppress_template_indentation=True,  # CloudFormation takes 51,200 bytes
        )
        cdk.Tags.of(self).add("application", "pulsetrack")
        cdk.Tags.of(self).add("environment", environment.name)


def accept(construct: IConstruct, rule: str, reason: str) -> None:
    """Accepts what a security rule finds at a construct, for a reason that a reviewer can judge."""
    cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=rule, reason=reason))


def logical(name: str) -> str:
    """Returns a name as it is written in a template: `auth-migrations` as AuthMigrations."""
    return "".join(part.capitalize() for part in name.replace("_", "-").split("-"))
