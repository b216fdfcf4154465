"""`python -m infrastructure synth|deploy|destroy`: PulseTrack on AWS, or on an emulator of it."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.app import synthesise
from infrastructure.deployment import Choices, Deployment
from infrastructure.environments import ENVIRONMENTS
from infrastructure.environments.localstack import LOCALSTACK
from infrastructure.errors import DeployError

_FOLDER = Path("build/infrastructure")
_LOCALSTACK_URL = "http://localhost:4566"


def main() -> None:
    """Exits with one sentence if something fails."""
    said = _arguments()
    try:
        if said.command == "synth":
            _synth()
        else:
            _deploy_or_destroy(said.command, said.environment)
    except (DeployError, ClientError, BotoCoreError) as error:
        sys.exit(str(error))


def choices(name: str, environment: Mapping[str, str] = os.environ) -> Choices:
    """Reads what is chosen for a deployment. An emulator needs neither an account nor a region."""
    endpoint, account = environment.get("AWS_ENDPOINT_URL"), {}
    if name == LOCALSTACK.name:
        endpoint = endpoint or _LOCALSTACK_URL
        account = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return Choices(
        images=environment.get("PULSETRACK_IMAGES", Choices.images),
        version=environment.get("PULSETRACK_VERSION", Choices.version),
        kafka=environment.get("PULSETRACK_KAFKA"),
        endpoint=endpoint,
        session=boto3.Session(**account),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infrastructure", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("synth", help="write the templates of every environment, for which no account is needed")
    for command, what in (("deploy", "deploy, wait and print the URL"), ("destroy", "remove everything")):
        one = commands.add_parser(command, help=what)
        one.add_argument("environment", nargs="?", choices=ENVIRONMENTS, default=LOCALSTACK.name)
    return parser.parse_args()


def _synth() -> None:
    for name, environment in ENVIRONMENTS.items():
        for stack in synthesise(environment, _FOLDER / name):
            print(_FOLDER / name / stack.template_file)


def _deploy_or_destroy(command: str, name: str) -> None:
    deployment = Deployment(ENVIRONMENTS[name], choices(name), _FOLDER / name, print)
    if command == "destroy":
        deployment.destroy()
    else:
        print(f"PulseTrack is up: {deployment.deploy()}")


if __name__ == "__main__":
    main()
