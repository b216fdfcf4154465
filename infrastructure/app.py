"""The CDK app: the seven stacks of an environment, in the order of their deployment.

network ──▶ data ──▶ jobs ──▶ backups
   │                  └─────▶ services ──▶ monitoring
   └──────▶ edge ─────────────┘

`python -m infrastructure.app` is the app of cdk.json, which `cdk` and `cdklocal` run.
"""

from pathlib import Path

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from infrastructure.backups import Backups
from infrastructure.data import Data
from infrastructure.edge import Edge
from infrastructure.environments import ENVIRONMENTS
from infrastructure.jobs import Jobs
from infrastructure.monitoring import Monitoring
from infrastructure.network import Network
from infrastructure.services import Services
from infrastructure.settings import Environment
from infrastructure.stack import Stack

_FEATURES = {
    # CloudFormation rejects changes of a stack output that another stack imports.
    "@aws-cdk/core:defaultCrossStackReferences": "strong",
}


def main() -> None:
    """Writes the templates for `cdk`, of the environment in the context: `cdk deploy -c environment=staging`."""
    app = cdk.App(analytics_reporting=False, context=_FEATURES)
    add_stacks(app, ENVIRONMENTS[app.node.get_context("environment")])
    app.synth()


def synthesize(environment: Environment, folder: Path) -> list[Stack]:
    """Writes the templates of an environment to a folder, and returns the stacks in the order of their deployment.

    Raises RuntimeError if a template violates a security rule. The rule is printed.
    """
    app = cdk.App(analytics_reporting=False, outdir=str(folder), context=_FEATURES)
    stacks = add_stacks(app, environment)
    app.synth()
    return stacks


def add_stacks(app: cdk.App, environment: Environment) -> list[Stack]:
    """Adds the stacks of an environment to an app, checked by cdk-nag's AWS Solutions rules. Returns them in order."""
    network = Network(app, environment)
    data = Data(app, environment, network)
    edge = Edge(app, environment, network)
    jobs = Jobs(app, environment, network, data)
    backups = Backups(app, environment, network=network, data=data, jobs=jobs)
    services = Services(app, environment, network=network, data=data, edge=edge, jobs=jobs)
    monitoring = Monitoring(app, environment, data=data, edge=edge, jobs=jobs)
    monitoring.add_stack_dependency(services)  # an earlier version of the services stack contained the alarms
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return [network, data, edge, jobs, backups, services, monitoring]


if __name__ == "__main__":
    main()
