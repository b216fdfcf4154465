"""Creates, updates and deletes CloudFormation stacks."""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from infrastructure.errors import DeployError

Confirm = Callable[[str, list[str]], bool]
"""Decides whether a stack, given by name, may be changed as listed."""

_POLL = {"Delay": 5, "MaxAttempts": 1080}
"""Ninety minutes. A new Kafka cluster takes half an hour."""

_INLINE_BYTES = 51_200
_REASONS = 5
_UNDEPLOYED = "unknown"
"""The physical id of resources that an emulator stores but does not create."""

_GONE = {"DELETE_COMPLETE", "REVIEW_IN_PROGRESS"}
_FAILED = {"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"}
"""The states of a stack that was never complete. It can only be deleted."""


class CloudFormation:
    """The stacks at an endpoint. The methods raise DeployError."""

    def __init__(
        self, session: Any, endpoint: str | None, *, bucket: str | None = None, confirm: Confirm | None = None
    ) -> None:
        """Takes the S3 bucket for large templates. If `confirm` is given, it is asked before a stack is changed."""
        self._client = session.client("cloudformation", endpoint_url=endpoint)
        self._buckets = session.client("s3", endpoint_url=endpoint)
        self._bucket = bucket
        self._confirm = confirm

    def put(self, name: str, template: Path, parameters: Mapping[str, str], *, protect: bool) -> dict[str, str]:
        """Creates or updates a stack, waits until that is complete, and returns its outputs."""
        arguments = {
            "StackName": name,
            **self._pass_template(name, template),
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            "Capabilities": ["CAPABILITY_IAM"],
        }
        status = self._find_status(name)
        if status in _FAILED:
            self.delete(name)
        if new := status in _FAILED | _GONE:
            start, event = self._client.create_stack, "stack_create_complete"
        else:
            start, event = self._client.update_stack, "stack_update_complete"
        if self._confirm:
            started = self._start_confirmed(arguments, self._confirm, new=new)
        else:
            started = _is_started(start, arguments)
        if started:
            self._wait(event, name)
        if new and protect:
            self._client.update_termination_protection(StackName=name, EnableTerminationProtection=True)
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
        if self._find_status(name) not in _GONE:
            self._client.delete_stack(StackName=name)
            self._wait("stack_delete_complete", name)

    def empty_bucket(self, name: str) -> None:
        """Deletes all versions of all objects in a bucket, because CloudFormation deletes only empty buckets."""
        for page in self._buckets.get_paginator("list_object_versions").paginate(Bucket=name):
            versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            for version in versions:
                self._buckets.delete_object(Bucket=name, Key=version["Key"], VersionId=version["VersionId"])

    def count_resources(self, name: str) -> dict[str, tuple[int, int]]:
        """Returns the numbers of created and of missing resources of a stack, by type.

        A resource is missing if an emulator reports it as complete without having created it.
        """
        counts: dict[str, tuple[int, int]] = {}
        for page in self._client.get_paginator("list_stack_resources").paginate(StackName=name):
            for resource in page["StackResourceSummaries"]:
                missing = resource.get("PhysicalResourceId") in {None, _UNDEPLOYED}
                created, others = counts.get(resource["ResourceType"], (0, 0))
                counts[resource["ResourceType"]] = (created + (not missing), others + missing)
        return counts

    def _pass_template(self, name: str, template: Path) -> dict[str, str]:
        """Returns the argument with the template, or with its address in the bucket if it is too large."""
        body = template.read_bytes()
        if len(body) <= _INLINE_BYTES:
            return {"TemplateBody": body.decode()}
        if not self._bucket:
            raise DeployError(
                f"The template of {name} has {len(body):,} bytes, more than CloudFormation accepts without a bucket."
                " Set PULSETRACK_TEMPLATE_BUCKET to the name of an S3 bucket."
            )
        key = f"{name}/{hashlib.sha256(body).hexdigest()}.json"
        self._buckets.put_object(Bucket=self._bucket, Key=key, Body=body)
        return {"TemplateURL": f"{self._buckets.meta.endpoint_url}/{self._bucket}/{key}"}

    def _find_status(self, name: str) -> str:
        """Returns the status of a stack. DELETE_COMPLETE if it does not exist."""
        try:
            [stack] = self._client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return "DELETE_COMPLETE"
            raise
        return str(stack["StackStatus"])

    def _start_confirmed(self, arguments: dict[str, Any], confirm: Confirm, *, new: bool) -> bool:
        """Starts a change after it was confirmed. Returns False if there is nothing to change."""
        name = arguments["StackName"]
        change_set = {"StackName": name, "ChangeSetName": f"pulsetrack-{secrets.token_hex(4)}"}
        self._client.create_change_set(**arguments | change_set, ChangeSetType="CREATE" if new else "UPDATE")
        try:
            self._client.get_waiter("change_set_create_complete").wait(**change_set, WaiterConfig=_POLL)
        except WaiterError:
            reason = self._client.describe_change_set(**change_set).get("StatusReason", "no reason given")
            self._client.delete_change_set(**change_set)
            if "didn't contain changes" in reason or "No updates" in reason:
                return False
            raise DeployError(f"The changes of {name} cannot be determined: {reason}") from None
        if not confirm(name, self._list_changes(change_set)):
            self._client.delete_change_set(**change_set)
            raise DeployError(f"{name} was not changed, because the changes were not confirmed.")
        self._client.execute_change_set(**change_set)
        return True

    def _list_changes(self, change_set: Mapping[str, str]) -> list[str]:
        pages = self._client.get_paginator("describe_change_set").paginate(**change_set)
        return [
            _describe_change(change["ResourceChange"])
            for page in pages
            for change in page["Changes"]
            if "ResourceChange" in change
        ]

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


def _is_started(start: Callable[..., Any], arguments: dict[str, Any]) -> bool:
    """Starts a change. Returns False if there is nothing to change."""
    try:
        start(**arguments)
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            return False
        raise
    return True


def _describe_change(change: Mapping[str, Any]) -> str:
    replaced = {"True": ", is REPLACED", "Conditional": ", may be REPLACED"}.get(change.get("Replacement", ""), "")
    return f"{change['Action']} {change['LogicalResourceId']} ({change['ResourceType']}){replaced}"
