"""ECS: tasks that are run to their end, and services that are waited for."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from infrastructure.errors import DeployError

_POLL_SECONDS = 2
_JOB_SECONDS = 900
_SERVICE_SECONDS = 1200
_LAST_LINES = 20
_TRIES = 3


class Cluster:
    """The cluster at an endpoint. Its methods raise DeployError."""

    def __init__(self, session: Any, endpoint: str | None, outputs: dict[str, str]) -> None:
        """Takes the outputs of the stack that made it."""
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
        """Runs tasks side by side, and returns when all have ended well. One that fails is run again, up to twice."""
        left = list(definitions)
        for tries_left in reversed(range(_TRIES)):
            failed = [task for task in self._run_to_end(left) if task["containers"][0].get("exitCode") != 0]
            if not failed:
                return
            if not tries_left:
                raise DeployError("; ".join(map(self._failure, failed)))
            left = [task["taskDefinitionArn"] for task in failed]

    def _run_to_end(self, definitions: Sequence[str]) -> list[dict[str, Any]]:
        arns = [self._start(definition) for definition in definitions]
        limit = time.monotonic() + _JOB_SECONDS
        while not all(task["lastStatus"] == "STOPPED" for task in self._tasks(arns)):
            if time.monotonic() > limit:
                raise DeployError(
                    f"A job still runs after {_JOB_SECONDS} s: {', '.join(map(_job, self._tasks(arns)))}."
                )
            time.sleep(_POLL_SECONDS)
        return self._tasks(arns)

    def _failure(self, task: dict[str, Any]) -> str:
        why = self._said(task) or task.get("stoppedReason") or "it said nothing"
        return f"The job {task['containers'][0]['name']} failed: {why}"

    def wait_for_services(self, definitions: Mapping[str, str]) -> None:
        """Returns when every service, by name, runs as many tasks as it should, and all of this definition."""
        limit = time.monotonic() + _SERVICE_SECONDS
        while waiting := [service for service in self._services([*definitions]) if not _stable(service, definitions)]:
            if back := [each for each in waiting if each["taskDefinition"] != definitions[each["serviceName"]]]:
                raise DeployError("New tasks failed, and it was put back as it was: " + "; ".join(map(_report, back)))
            if time.monotonic() > limit:
                raise DeployError(f"Not running after {_SERVICE_SECONDS} s: " + "; ".join(map(_report, waiting)))
            time.sleep(_POLL_SECONDS)

    def _start(self, definition: str) -> str:
        answer = self._ecs.run_task(
            cluster=self._name, taskDefinition=definition, launchType="FARGATE", networkConfiguration=self._network
        )
        if answer["failures"]:
            raise DeployError(f"A job cannot be started: {answer['failures'][0].get('reason')}.")
        return str(answer["tasks"][0]["taskArn"])

    def _tasks(self, arns: Sequence[str]) -> list[dict[str, Any]]:
        return list(self._ecs.describe_tasks(cluster=self._name, tasks=list(arns))["tasks"])

    def _services(self, names: Sequence[str]) -> list[dict[str, Any]]:
        answer = self._ecs.describe_services(cluster=self._name, services=list(names))
        if answer.get("failures"):
            raise DeployError(f"There is no service {answer['failures'][0]['arn']}.")
        return list(answer["services"])

    def _said(self, task: dict[str, Any]) -> str:
        """Returns the last lines of a task's log."""
        [container] = task["containers"]
        stream = f"{container['name']}/{container['name']}/{task['taskArn'].rpartition('/')[2]}"
        try:
            events = self._logs.get_log_events(logGroupName=self._log, logStreamName=stream, limit=_LAST_LINES)
        except self._logs.exceptions.ResourceNotFoundException:
            return ""
        return "\n".join(event["message"] for event in events["events"])


def _job(task: dict[str, Any]) -> str:
    return f"{task['containers'][0]['name']} ({task['lastStatus']})"


def _stable(service: dict[str, Any], definitions: Mapping[str, str]) -> bool:
    """Tells whether all of a service's tasks run, of the definition that was deployed, and none of another."""
    primary = [each for each in service["deployments"] if each["status"] == "PRIMARY"]
    return (
        service["taskDefinition"] == definitions[service["serviceName"]]
        and service["runningCount"] == service["desiredCount"] > 0
        and all(each.get("rolloutState", "COMPLETED") == "COMPLETED" for each in primary)
        and all(each["runningCount"] == 0 for each in service["deployments"] if each not in primary)
    )


def _report(service: dict[str, Any]) -> str:
    said = service.get("events") or [{"message": "no event"}]
    return (
        f"{service['serviceName']} runs {service['runningCount']} of {service['desiredCount']} tasks"
        f" ({said[0]['message']})"
    )
