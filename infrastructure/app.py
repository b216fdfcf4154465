"""The app: five stacks for an environment, in the order in which they are deployed.

network ──▶ data ──▶ jobs ──▶ services
   └──────▶ edge ───────────────┘
"""

from pathlib import Path

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from infrastructure.data import Data
from infrastructure.edge import Edge
from infrastructure.jobs import Jobs
from infrastructure.network import Network
from infrastructure.services import Services
from infrastructure.settings import Environment
from infrastructure.stack import Stack

_FEATURES = {
    # A stack's output that another one uses cannot be changed under it.
    "@aws-cdk/core:defaultCrossStackReferences": "strong",
}


def synthesise(environment: Environment, folder: Path) -> list[Stack]:
    """Writes an environment's templates into a folder and returns the stacks in the order of their deployment.

    Raises RuntimeError if a security rule is broken; what it is was printed.
    """
    app = cdk.App(analytics_reporting=False, outdir=str(folder), context=_FEATURES)
    made = stacks(app, environment)
    app.synth()
    return made


def stacks(app: cdk.App, environment: Environment) -> list[Stack]:
    """Adds an environment's stacks to an app, checked against the rules of AWS Solutions, and returns them in order."""
    network = Network(app, environment)
    data = Data(app, environment, network)
    edge = Edge(app, environment, network)
    jobs = Jobs(app, environment, network, data)
    services = Services(app, environment, network=network, data=data, edge=edge, jobs=jobs)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return [network, data, edge, jobs, services]
