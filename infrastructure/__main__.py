"""Deploys and operates PulseTrack on AWS or on an emulator: `python -m infrastructure synth|deploy|...`."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.app import synthesize
from infrastructure.deployment import Choices, Deployment
from infrastructure.environments import ENVIRONMENTS
from infrastructure.environments.localstack import LOCALSTACK
from infrastructure.errors import DeployError
from infrastructure.operations import OPERATIONS

_FOLDER = Path("build/infrastructure")
_LOCALSTACK_URL = "http://localhost:4566"

_COMMANDS = {
    "deploy": "deploy, wait and print the URL",
    "stop": "stop all services, for the restore of a backup",
    "start": "start the services again, and wait until they run",
    "destroy": "delete all stacks",
}


def main() -> None:
    """Runs the command. Exits with a one-line error if it fails."""
    arguments = _parse_arguments()
    try:
        if arguments.command == "synth":
            _synth()
        else:
            sys.exit(_operate(arguments))
    except (DeployError, ClientError, BotoCoreError) as error:
        sys.exit(str(error))


def read_choices(name: str, environment: Mapping[str, str] = os.environ) -> Choices:
    """Reads the options of a deployment. An emulator needs neither an account nor a region."""
    endpoint, account = environment.get("AWS_ENDPOINT_URL"), {}
    if name == LOCALSTACK.name:
        endpoint = endpoint or _LOCALSTACK_URL
        account = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return Choices(
        images=environment.get("PULSETRACK_IMAGES", Choices.images),
        version=environment.get("PULSETRACK_VERSION", Choices.version),
        kafka=environment.get("PULSETRACK_KAFKA"),
        rotate_certificates=environment.get("PULSETRACK_ROTATE_CERTIFICATES") == "yes",
        endpoint=endpoint,
        bucket=environment.get("PULSETRACK_TEMPLATE_BUCKET"),
        confirm=approve if environment.get("PULSETRACK_APPROVE") == "yes" else ask,
        session=boto3.Session(**account),
    )


def approve(stack: str, changes: list[str]) -> bool:
    """Shows the changes of a stack. Returns True."""
    print(f"changes of {stack}:", *(changes or ["only tags or outputs"]), sep="\n  ")
    return True


def ask(stack: str, changes: list[str]) -> bool:
    """Shows the changes of a stack and asks whether to make them. Returns False if there is no terminal."""
    approve(stack, changes)
    if not sys.stdin.isatty():
        print("No terminal is attached. Set PULSETRACK_APPROVE=yes to make the changes without being asked.")
        return False
    return input("Make these changes? [y/N] ").strip().lower() in {"y", "yes"}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infrastructure", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("synth", help="write the templates of all environments; needs no account")
    for command, text in _COMMANDS.items():
        parser_of_command = commands.add_parser(command, help=text)
        parser_of_command.add_argument("environment", nargs="?", choices=ENVIRONMENTS, default=LOCALSTACK.name)
    run = commands.add_parser("run", help="run a command as a one-off task, and print its log")
    run.add_argument("environment", choices=ENVIRONMENTS)
    run.add_argument("operation", choices=OPERATIONS)
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="of the operation: a service, options")
    return parser.parse_args()


def _synth() -> None:
    for name, environment in ENVIRONMENTS.items():
        for stack in synthesize(environment, _FOLDER / name):
            print(_FOLDER / name / stack.template_file)


def _operate(arguments: argparse.Namespace) -> int:
    """Returns the exit code of the command."""
    name: str = arguments.environment
    deployment = Deployment(ENVIRONMENTS[name], read_choices(name), _FOLDER / name, print)
    if arguments.command == "run":
        return deployment.run(arguments.operation, arguments.arguments)
    if arguments.command in {"stop", "start"}:
        deployment.pause(stop=arguments.command == "stop")
    elif arguments.command == "destroy":
        deployment.destroy()
    else:
        print(f"PulseTrack is up: {deployment.deploy()}")
    return 0


if __name__ == "__main__":
    main()
