"""Stops the services of a deployment while its databases are restored, and starts them again."""

from collections.abc import Iterable
from typing import Any

from infrastructure.settings import Environment


def stop_services(session: Any, endpoint: str | None, cluster: str, environment: Environment) -> None:
    """Stops all tasks of the services. Scaling is suspended, so that it does not start any."""
    _set(session, endpoint, cluster, dict.fromkeys(environment.services, 0), suspended=True)


def start_services(session: Any, endpoint: str | None, cluster: str, environment: Environment) -> None:
    """Starts the minimum of tasks of each service, and resumes scaling."""
    counts = {name: scale.least for name, scale in environment.services.items()}
    _set(session, endpoint, cluster, counts, suspended=False)


def _set(session: Any, endpoint: str | None, cluster: str, counts: dict[str, int], *, suspended: bool) -> None:
    _set_scaling(session, endpoint, cluster, counts, suspended=suspended)
    ecs = session.client("ecs", endpoint_url=endpoint)
    for name, count in counts.items():
        ecs.update_service(cluster=cluster, service=name, desiredCount=count)


def _set_scaling(session: Any, endpoint: str | None, cluster: str, services: Iterable[str], *, suspended: bool) -> None:
    scaling = session.client("application-autoscaling", endpoint_url=endpoint)
    names = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
    for name in services:
        scaling.register_scalable_target(
            ServiceNamespace="ecs",
            ResourceId=f"service/{cluster}/{name}",
            ScalableDimension="ecs:service:DesiredCount",
            SuspendedState=dict.fromkeys(names, suspended),
        )
