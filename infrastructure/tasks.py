"""Runs ECS tasks to completion, and waits for ECS services."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from infrastructure.errors import DeployError

_POLL_SECONDS = 2
_JOB_SECONDS = 900
_COMMAND_SECONDS = 24 * 3600
_LOG_SECONDS = 10
_SERVICE_SECONDS = 1200
_LAST_LINES = 20
_TRIES = 3


class Cluster:
    """The cluster at an endpoint. The methods raise DeployError."""

    def __init__(self, session: Any, endpoint: str | None, outputs: dict[str, str]) -> None:
        """Takes the outputs of the network stack and of the jobs stack."""
        self._ecs = session.client("ecs", endpoint_url=endpoint)
        self._logs = session.client("logs", endpoint_url=endpoint)
        self._name = outputs["ClusterName"]
        self._log = outputs["LogGroup"]
        self._network = {
            "awsvpcConfiguration": {
                "subnets": outputs["Subnets"].split(","),
                "securityGroups": [outputs["SecurityGroup"]],
                "assignPublicIp": "DISABLED",
            }
        }

    def run(self, definitions: Sequence[str]) -> None:
        """Runs tasks concurrently until all have succeeded. A task that fails is retried up to twice."""
        remaining = list(definitions)
        for tries_left in reversed(range(_TRIES)):
            failed = [task for task in self._run_to_completion(remaining) if task["containers"][0].get("exitCode") != 0]
            if not failed:
                return
            if not tries_left:
                raise DeployError("; ".join(map(self._describe_failure, failed)))
            remaining = [task["taskDefinitionArn"] for task in failed]

    def run_command(self, definition: str, command: Sequence[str], report: Callable[[str], None]) -> int:
        """Runs a task with another command than that of its definition. Reports its log and returns its exit code."""
        described = self._ecs.describe_task_definition(taskDefinition=definition)["taskDefinition"]
        container = described["containerDefinitions"][0]["name"]
        arn = self._start(definition, {"containerOverrides": [{"name": container, "command": list(command)}]})
        [task] = self._wait_for_end([arn], _COMMAND_SECONDS)
        code = task["containers"][0].get("exitCode")
        if code is None:
            raise DeployError(f"The task could not be run: {task.get('stoppedReason') or 'no reason given'}.")
        for line in self._read_all(task):
            report(line)
        return int(code)

    def _run_to_completion(self, definitions: Sequence[str]) -> list[dict[str, Any]]:
        return self._wait_for_end([self._start(definition) for definition in definitions], _JOB_SECONDS)

    def _wait_for_end(self, arns: Sequence[str], seconds: int) -> list[dict[str, Any]]:
        limit = time.monotonic() + seconds
        while any(task["lastStatus"] != "STOPPED" for task in self._tasks(arns)):
            if time.monotonic() > limit:
                raise DeployError(
                    f"Jobs are not complete after {seconds} s: {', '.join(map(_describe_job, self._tasks(arns)))}."
                )
            time.sleep(_POLL_SECONDS)
        return self._tasks(arns)

    def _describe_failure(self, task: dict[str, Any]) -> str:
        reason = self._read_log(task) or task.get("stoppedReason") or "no log and no reason"
        return f"The job {task['containers'][0]['name']} failed: {reason}"

    def wait_for_services(self, definitions: Mapping[str, str]) -> None:
        """Waits until every service runs its desired number of tasks, all with the given task definition."""
        limit = time.monotonic() + _SERVICE_SECONDS
        while waiting := [
            service for service in self._services([*definitions]) if not _is_stable(service, definitions)
        ]:
            if rolled_back := [each for each in waiting if each["taskDefinition"] != definitions[each["serviceName"]]]:
                raise DeployError(
                    "New tasks failed and were rolled back: " + "; ".join(map(_describe_service, rolled_back))
                )
            if time.monotonic() > limit:
                raise DeployError(
                    f"Not stable after {_SERVICE_SECONDS} s: " + "; ".join(map(_describe_service, waiting))
                )
            time.sleep(_POLL_SECONDS)

    def check_images(self, definitions: Sequence[str], version: str) -> None:
        """Raises DeployError if CloudFormation kept task definitions with images of another version."""
        for definition in definitions:
            described = self._ecs.describe_task_definition(taskDefinition=definition)["taskDefinition"]
            for container in described["containerDefinitions"]:
                if not container["image"].endswith(f":{version}"):
                    raise DeployError(
                        f"CloudFormation reports that the task {container['name']} was updated, but it still has the"
                        f" image {container['image']}. Delete the stacks monitoring, services and jobs."
                    )

    def list_deployments(self, names: Sequence[str]) -> dict[str, str]:
        """Returns the ids of the current deployments of services that exist, by name."""
        services = self._ecs.describe_services(cluster=self._name, services=list(names))["services"]
        return {service["serviceName"]: _find_primary(service)["id"] for service in services if _is_active(service)}

    def update_services(self, definitions: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
        """Updates services that CloudFormation reports as updated, but did not change, as LocalStack does.

        Takes the task definitions and the deployments before the update. Returns the names of the updated services.
        """
        skipped = [
            service["serviceName"]
            for service in self._services([*definitions])
            if service["taskDefinition"] != definitions[service["serviceName"]]
            and [each["id"] for each in service["deployments"]] == [before.get(service["serviceName"])]
        ]
        for name in skipped:
            self._ecs.update_service(cluster=self._name, service=name, taskDefinition=definitions[name])
        return skipped

    def _start(self, definition: str, overrides: Mapping[str, Any] | None = None) -> str:
        response = self._ecs.run_task(
            cluster=self._name,
            taskDefinition=definition,
            launchType="FARGATE",
            networkConfiguration=self._network,
            overrides=overrides or {},
        )
        if response["failures"]:
            raise DeployError(f"A job cannot be started: {response['failures'][0].get('reason')}.")
        return str(response["tasks"][0]["taskArn"])

    def _tasks(self, arns: Sequence[str]) -> list[dict[str, Any]]:
        return list(self._ecs.describe_tasks(cluster=self._name, tasks=list(arns))["tasks"])

    def _services(self, names: Sequence[str]) -> list[dict[str, Any]]:
        response = self._ecs.describe_services(cluster=self._name, services=list(names))
        if response.get("failures"):
            raise DeployError(f"The service {response['failures'][0]['arn']} does not exist.")
        return list(response["services"])

    def _read_log(self, task: dict[str, Any]) -> str:
        """Returns the last lines of a task's log. Empty if there are none."""
        stream = self._find_log_stream(task)
        if not stream:
            return ""
        events = self._logs.get_log_events(logGroupName=self._log, logStreamName=stream, limit=_LAST_LINES)
        return "\n".join(event["message"] for event in events["events"])

    def _read_all(self, task: dict[str, Any]) -> Iterator[str]:
        """Yields the lines of a task's log, which may appear some seconds after its end."""
        limit = time.monotonic() + _LOG_SECONDS
        while not (stream := self._find_log_stream(task)) and time.monotonic() < limit:
            time.sleep(_POLL_SECONDS)
        place = {"logGroupName": self._log, "logStreamName": stream, "startFromHead": True}
        page = self._logs.get_log_events(**place) if stream else {"events": []}
        while page["events"]:
            yield from (event["message"] for event in page["events"])
            page = self._logs.get_log_events(**place, nextToken=page["nextForwardToken"])

    def _find_log_stream(self, task: dict[str, Any]) -> str:
        """Returns the log stream of a task, prefix/container/id. LocalStack has another name for the container."""
        [container], task_id = task["containers"], task["taskArn"].rpartition("/")[2]
        paginator = self._logs.get_paginator("describe_log_streams")
        pages = paginator.paginate(logGroupName=self._log, logStreamNamePrefix=f"{container['name']}/")
        streams = (stream["logStreamName"] for page in pages for stream in page["logStreams"])
        return next((stream for stream in streams if stream.endswith(f"/{task_id}")), "")


def _describe_job(task: dict[str, Any]) -> str:
    return f"{task['containers'][0]['name']} ({task['lastStatus']})"


def _is_active(service: dict[str, Any]) -> bool:
    return bool(service["status"] == "ACTIVE" and service["deployments"])


def _find_primary(service: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in service["deployments"] if each["status"] == "PRIMARY")


def _is_stable(service: dict[str, Any], definitions: Mapping[str, str]) -> bool:
    """Returns whether all tasks of a service are running, and all have the deployed task definition."""
    primary = [each for each in service["deployments"] if each["status"] == "PRIMARY"]
    return (
        service["taskDefinition"] == definitions[service["serviceName"]]
        and service["runningCount"] == service["desiredCount"] > 0
        and all(each.get("rolloutState", "COMPLETED") == "COMPLETED" for each in primary)
        and all(each["runningCount"] == 0 for each in service["deployments"] if each not in primary)
    )


def _describe_service(service: dict[str, Any]) -> str:
    events = service.get("events") or [{"message": "no event"}]
    return (
        f"{service['serviceName']} runs {service['runningCount']} of {service['desiredCount']} tasks"
        f" ({events[0]['message']})"
    )
