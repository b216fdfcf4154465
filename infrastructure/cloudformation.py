"""Creates, updates and deletes CloudFormation stacks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from infrastructure.errors import DeployError

_POLL = {"Delay": 5, "MaxAttempts": 1080}
"""Ninety minutes. A new Kafka cluster takes half an hour."""

_REASONS = 5
_UNDEPLOYED = "unknown"
"""The physical id of resources that an emulator stores but does not create."""


class CloudFormation:
    """The stacks at an endpoint. The methods raise DeployError."""

    def __init__(self, session: Any, endpoint: str | None) -> None:
        self._client = session.client("cloudformation", endpoint_url=endpoint)

    def put(self, name: str, template: Path, parameters: Mapping[str, str], *, protect: bool) -> dict[str, str]:
        """Creates or updates a stack, waits until that is complete, and returns its outputs."""
        arguments = {
            "StackName": name,
            "TemplateBody": template.read_text(encoding="utf-8"),
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            "Capabilities": ["CAPABILITY_IAM"],
        }
        if self._exists(name):
            if self._update(arguments):
                self._wait("stack_update_complete", name)
        else:
            # A stack that cannot be created is deleted. It contains no data yet.
            self._client.create_stack(**arguments, OnFailure="DELETE", EnableTerminationProtection=protect)
            self._wait("stack_create_complete", name)
        self._check_deployed(name)
        return self.outputs(name)

    def outputs(self, name: str) -> dict[str, str]:
        """Returns the outputs of a stack by name. Empty if the stack does not exist."""
        try:
            [stack] = self._client.describe_stacks(StackName=name)["Stacks"]
        except ClientError:
            return {}
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def delete(self, name: str) -> None:
        """Deletes a stack, and waits until that is complete."""
        if self._exists(name):
            self._client.delete_stack(StackName=name)
            self._wait("stack_delete_complete", name)

    def _exists(self, name: str) -> bool:
        try:
            [stack] = self._client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return False
            raise
        return stack["StackStatus"] not in {"DELETE_COMPLETE", "REVIEW_IN_PROGRESS"}

    def _update(self, arguments: dict[str, Any]) -> bool:
        """Starts an update. Returns False if the stack is up to date."""
        try:
            self._client.update_stack(**arguments)
        except ClientError as error:
            if "No updates are to be performed" in str(error):
                return False
            raise
        return True

    def _wait(self, event: str, name: str) -> None:
        try:
            self._client.get_waiter(event).wait(StackName=name, WaiterConfig=_POLL)
        except WaiterError as error:
            raise DeployError(f"The stack {name} failed: {self._find_reasons(name) or error}") from None

    def _find_reasons(self, name: str) -> str:
        """Returns the reasons of the first resources that failed, and that of the stack. Some have none."""
        try:
            [stack] = self._client.describe_stacks(StackName=name)["Stacks"]
            events = self._client.describe_stack_events(StackName=stack["StackId"])["StackEvents"]
        except ClientError:
            return ""
        failed = [event for event in reversed(events) if event["ResourceStatus"].endswith("_FAILED")]
        reasons = [
            f"{event['LogicalResourceId']} ({event['ResourceType']}): {event['ResourceStatusReason']}"
            for event in failed
            if event.get("ResourceStatusReason")
        ]
        # The event of the stack comes after those of its resources and often has no reason, but the stack has.
        return "; ".join(dict.fromkeys([*reasons[:_REASONS], stack.get("StackStatusReason") or stack["StackStatus"]]))

    def _check_deployed(self, name: str) -> None:
        """Raises DeployError if an emulator reports a stack as complete without having created all resources."""
        pages = self._client.get_paginator("list_stack_resources").paginate(StackName=name)
        resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
        missing = {each["ResourceType"] for each in resources if each.get("PhysicalResourceId") in {None, _UNDEPLOYED}}
        if missing:
            types = ", ".join(sorted(missing))
            raise DeployError(f"The endpoint reports that {name} is complete, but did not create {types}.")
