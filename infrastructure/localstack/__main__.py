"""Starts LocalStack, deploys to it, and makes the calls of a user: `python -m infrastructure.localstack up|down`."""

import argparse
import secrets
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.deployment import Choices, Deployment
from infrastructure.environments.localstack import LOCALSTACK
from infrastructure.errors import DeployError
from infrastructure.localstack import editions, engine, journey

_FOLDER = Path("build/infrastructure/localstack")


def main() -> None:
    """Runs the command. Exits with a one-line error if it fails."""
    parser = argparse.ArgumentParser(prog="python -m infrastructure.localstack", description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    try:
        _up() if parser.parse_args().command == "up" else engine.stop()
    except (DeployError, ClientError, BotoCoreError) as error:
        sys.exit(str(error))


def _up() -> None:
    print("starting LocalStack and Kafka")
    engine.start()
    if missing := editions.describe_missing(engine.read_health()):
        raise DeployError(missing)
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")  # noqa: S106 - not a secret
    print("building and pushing the images")
    version = secrets.token_hex(4)  # ECS replaces tasks only if the tag changes
    images = engine.push_images(_client(session, "ecr"), version)
    choices = Choices(images=images, version=version, kafka=engine.KAFKA, endpoint=engine.URL, session=session)
    url = Deployment(LOCALSTACK, choices, _FOLDER, print).deploy()
    password = _read_admin_password(session)
    # Other operating systems run containers in a virtual machine, whose network they do not reach.
    grpc = engine.find_gateway() if sys.platform == "linux" else None
    journey.travel(url, grpc, LOCALSTACK.admin_email, password, print)
    print(f"PulseTrack is up: {url}\n`make localstack DOWN=1` removes it.")


def _client(session: Any, service: str) -> Any:
    return session.client(service, endpoint_url=engine.URL)


def _read_admin_password(session: Any) -> str:
    [stack] = _client(session, "cloudformation").describe_stacks(StackName="pulsetrack-localstack-data")["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    secret = _client(session, "secretsmanager").get_secret_value(SecretId=outputs["AdminPasswordSecret"])
    return str(secret["SecretString"])


if __name__ == "__main__":
    main()
