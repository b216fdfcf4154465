"""RDS: CloudFormation starts the database, and RDS creates the administrator's password if the template has none."""

import json
import secrets
import time
from typing import Any

from ministack.services import rds
from ministack.services.cloudformation import provisioners

from standin.recorded import HANDLERS, Made, Properties

_SECONDS = 180
_KIND = "AWS::RDS::DBInstance"


def patch() -> None:
    """Replaces the creation and the deletion of databases."""
    HANDLERS[_KIND] = {**HANDLERS[_KIND], "create": _create, "delete": _delete}
    run = rds._run_rds_container

    def run_without_ports(client: Any, engine: str, arguments: dict[str, Any], **others: Any) -> Any:
        return run(client, engine, arguments | {"ports": None}, **others)

    rds._run_rds_container = run_without_ports


def _create(logical_id: str, properties: Properties, stack: str) -> Made:
    name = provisioners._physical_name(stack, logical_id, lowercase=True, max_len=63)
    password = properties.get("MasterUserPassword") or secrets.token_urlsafe(24)
    identity = {"DBInstanceIdentifier": name, "MasterUserPassword": password}
    simple = {key: str(value) for key, value in properties.items() if isinstance(value, str | int | bool)}
    simple.pop("ManageMasterUserPassword", None)
    response = rds._create_db_instance({key: [value] for key, value in (simple | identity).items()})
    if response[0] >= 400:
        raise ValueError(f"{_KIND}: {response[2]!r}")
    instance = _wait_until_available(name)
    document = json.dumps({"username": properties["MasterUsername"], "password": password})
    secret = {"Name": f"rds!db-{name}", "SecretString": document}
    _, made = HANDLERS["AWS::SecretsManager::Secret"]["create"](f"{logical_id}Secret", secret, stack)
    return name, provisioners._rds_db_instance_attrs(instance) | {"MasterUserSecret.SecretArn": made["Arn"]}


def _wait_until_available(name: str) -> dict[str, Any]:
    limit = time.monotonic() + _SECONDS
    while (instance := rds._instances[name])["DBInstanceStatus"] == "creating" and time.monotonic() < limit:
        time.sleep(0.5)
    if instance["DBInstanceStatus"] != "available" or not instance.get("_docker_container_id"):
        raise ValueError(f"{_KIND}: {name} is {instance['DBInstanceStatus']}, without a container")
    return dict(instance)


def _delete(physical_id: str, properties: Properties) -> None:
    if instance := rds._instances.get(physical_id):
        instance["DeletionProtection"] = False
        rds._delete_db_instance({"DBInstanceIdentifier": [physical_id], "SkipFinalSnapshot": ["true"]})
