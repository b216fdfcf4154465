"""ECS: tasks run as defined, have DNS names, count when they are healthy, and stop as on AWS.

A stopping task is removed from the load balancer and from DNS. Then it receives SIGTERM, and later SIGKILL.
"""

import threading
import time
from collections.abc import Iterator
from typing import Any

import docker
from docker.errors import NotFound
from docker.models.images import ImageCollection
from ministack.services import ecs
from ministack.services import servicediscovery as names
from ministack.services.cloudformation import provisioners

from standin.recorded import HANDLERS, Made, Properties

DRAIN_SECONDS = 5
"""The time that connections to a stopping task have to finish. The template's is longer."""

_HEALTHY_SECONDS = 180
_NANOSECONDS = 1_000_000_000

_registries = threading.local()


def patch() -> None:
    """Replaces the functions of the emulator."""
    _patch_definitions()
    _patch_images()
    _patch_running()
    _patch_names()


def _patch_definitions() -> None:
    normalized = provisioners._normalize_container_defs

    def normalize(definitions: list[Properties]) -> list[Properties]:
        result: list[Properties] = normalized(definitions)
        for definition in result:
            for name in ("secrets", "healthCheck", "linuxParameters"):
                if name in definition:
                    definition[name] = provisioners._pascal_to_camel(definition[name])
            for secret in definition.get("secrets", []):
                secret["valueFrom"] = _by_arn(secret["valueFrom"])
        return result

    provisioners._normalize_container_defs = normalize


def _by_arn(value: str) -> str:
    """Returns a reference to a secret by ARN, because the emulator's Ref is a name. A field name is preserved."""
    name, field = value, ""
    if not value.startswith("arn:"):
        name, _, rest = value.partition(":")
        field = f":{rest}" if rest else ""
    known = provisioners._sm._secrets.get(name)
    return f"{known['ARN']}{field}" if known else value


def _patch_images() -> None:
    """Uses only images of this machine, because none is in a registry."""

    def pull(self: ImageCollection, repository: str, tag: str | None = None, **_: Any) -> Any:
        return self.get(f"{repository}:{tag}" if tag else repository)

    def registry_data(self: ImageCollection, name: str, **_: Any) -> Any:
        raise NotFound(name)

    pull._ministack_fallback = True  # type: ignore[attr-defined]
    ImageCollection.pull, ImageCollection.get_registry_data = pull, registry_data


def _patch_running() -> None:
    arguments, healthy, mark_stopped = ecs._build_run_kwargs, ecs._record_service_task_healthy, ecs._maybe_mark_stopped

    def build_arguments(definition: Properties, *others: Any) -> dict[str, Any]:
        result: dict[str, Any] = arguments(definition, *others)
        result["read_only"] = bool(definition.get("readonlyRootFilesystem"))
        result["security_opt"] = ["no-new-privileges"]
        # The emulator serves credentials at an address that SDKs accept only on AWS.
        result["environment"] |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        if definition.get("entryPoint"):
            result["entrypoint"] = definition["entryPoint"]
        if check := definition.get("healthCheck"):
            result["healthcheck"] = {
                "test": check["command"],
                "interval": 2 * _NANOSECONDS,
                "timeout": check.get("timeout", 5) * _NANOSECONDS,
                "retries": check.get("retries", 3),
                "start_period": check.get("startPeriod", 0) * _NANOSECONDS,
            }
        return result

    def record_if_healthy(service: str, task: Properties) -> None:
        limit = time.monotonic() + _HEALTHY_SECONDS
        while task.get("lastStatus") == "RUNNING" and _health(task) == "starting" and time.monotonic() < limit:
            time.sleep(0.5)
        if _health(task) in {"healthy", "none"}:
            healthy(service, task)

    def kill_if_unhealthy(task: Properties, client: Any = None) -> Any:
        if task.get("lastStatus") == "RUNNING" and _health(task) == "unhealthy":
            for container in _containers(task):
                container.kill()
        return mark_stopped(task, client)

    ecs._build_run_kwargs = build_arguments
    ecs._record_service_task_healthy = record_if_healthy
    ecs._maybe_mark_stopped = kill_if_unhealthy
    ecs._remove_docker_container = _stop


def _containers(task: Properties) -> Iterator[Any]:
    client = docker.from_env()
    for container_id in task.get("_docker_ids") or []:
        try:
            yield client.containers.get(container_id)
        except NotFound:
            continue


def _health(task: Properties) -> str:
    states = {
        container.attrs["State"].get("Health", {}).get("Status", "none")
        for container in _containers(task)
        if container.status == "running"
    }
    return next((state for state in ("unhealthy", "starting") if state in states), min(states, default="gone"))


def _stop(client: Any, container_or_id: Any) -> None:
    try:
        container = client.containers.get(getattr(container_or_id, "id", container_or_id))
    except NotFound:
        return
    task: Properties = next((each for each in list(ecs._tasks.values()) if each["taskArn"] == _task_of(container)), {})
    if container.status == "running" and task:
        _remove_from_service(task)
    container.stop(timeout=30)
    container.remove(v=True)


def _task_of(container: Any) -> str:
    return str(container.labels.get("com.amazonaws.ecs.task-arn", ""))


def _remove_from_service(task: Properties) -> None:
    service = _service_of(task) or {}
    for registry in service.get("serviceRegistries") or []:
        _forget(registry, task)
    if service.get("loadBalancers"):
        time.sleep(DRAIN_SECONDS)


def _patch_names() -> None:
    create, of_template, attach = ecs._create_service, provisioners._ecs_service_create, ecs._attach_started_container

    def template_create(logical_id: str, properties: Properties, stack: str) -> Made:
        _registries.wanted = provisioners._pascal_to_camel(properties.get("ServiceRegistries") or [])
        try:
            result: Made = of_template(logical_id, properties, stack)
            return result
        finally:
            _registries.wanted = None

    def create_service(data: Properties) -> Any:
        if wanted := getattr(_registries, "wanted", None):
            data["serviceRegistries"] = wanted
        return create(data)

    def attach_and_name(task: Properties, container: Any, index: int, token: str, network: str) -> bool:
        attached = bool(attach(task, container, index, token, network))
        service = _service_of(task)
        if attached and service and network:
            for registry in service.get("serviceRegistries") or []:
                _name(registry, task, container, network)
        return attached

    ecs._create_service = create_service
    ecs._attach_started_container = attach_and_name
    kind = "AWS::ECS::Service"
    HANDLERS[kind] = {**HANDLERS[kind], "create": template_create}


def _service_of(task: Properties) -> Properties | None:
    for service in list(ecs._services.values()):
        if task.get("group") == f"service:{service['serviceName']}" and service["clusterArn"] == task["clusterArn"]:
            return dict(service)
    return None


def _name(registry: Properties, task: Properties, container: Any, network: str) -> None:
    """Registers a task's container in Docker's DNS under the name of its service, and in Cloud Map."""
    service_id = registry["registryArn"].rpartition("/")[2]
    service = names._services[service_id]
    namespace = names._namespaces[service.get("NamespaceId") or service["DnsConfig"]["NamespaceId"]]
    where = docker.from_env().networks.get(network)
    where.disconnect(container)
    where.connect(container, aliases=[f"{service['Name']}.{namespace['Name']}"])
    container.reload()
    task.pop("_container_ip", None)
    task.pop("attachments", None)
    ecs._record_task_ip(task, container, network)
    address = container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"]
    attributes = {"AWS_INSTANCE_IPV4": address}
    names._register_instance({"ServiceId": service_id, "InstanceId": _id(task), "Attributes": attributes})


def _forget(registry: Properties, task: Properties) -> None:
    service_id = registry["registryArn"].rpartition("/")[2]
    names._deregister_instance({"ServiceId": service_id, "InstanceId": _id(task)})


def _id(task: Properties) -> str:
    return str(task["taskArn"].rpartition("/")[2])
