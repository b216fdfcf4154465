"""The commands that operators run as one-off tasks: `python -m infrastructure run ENVIRONMENT OPERATION [ARGUMENT...]`.

Each runs in a task definition of the deployment, with that task's image, database role and secrets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.topology import MIGRATIONS, TOPOLOGY
from infrastructure.errors import DeployError

_MAINTENANCE = "tools.backup.cloud"
_QUERY = "services.common.postgres.query"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A command, and the output of a stack that names its task definition."""

    module: str
    task: str
    """May contain {Service}, which stands for the service that the first argument names."""
    arguments: tuple[str, ...] = ()
    """The arguments of the program before those of the operator."""
    takes_service: bool = True
    """Whether the service is also an argument of the command."""


OPERATIONS: Mapping[str, Operation] = {
    "rotate-keys": Operation(module="services.auth.rotate", task="AuthDefinition"),
    "audit-verify": Operation(module=_MAINTENANCE, task="MaintenanceDefinition", arguments=("audit", "verify")),
    "audit-archive": Operation(module=_MAINTENANCE, task="MaintenanceDefinition", arguments=("audit", "archive")),
    "audit-prune": Operation(module=_MAINTENANCE, task="MaintenanceDefinition", arguments=("audit", "prune")),
    "prune-revisions": Operation(module="services.patient.prune_revisions", task="PatientMigrationsJob"),
    "databases": Operation(module="deploy.databases", task="DatabasesJob"),
    "migrate": Operation(module=MIGRATIONS, task="{Service}MigrationsJob"),
    "backup": Operation(module=_MAINTENANCE, task="BackupDefinition", arguments=("create",)),
    "list-backups": Operation(module=_MAINTENANCE, task="MaintenanceDefinition", arguments=("list",)),
    "restore": Operation(module=_MAINTENANCE, task="MaintenanceDefinition", arguments=("restore",)),
    "repeat-erasures": Operation(module=_MAINTENANCE, task="MaintenanceDefinition", arguments=("erasures",)),
    "discard-replaced": Operation(module=_MAINTENANCE, task="MaintenanceDefinition", arguments=("discard",)),
    "sql": Operation(module=_QUERY, task="SqlJob"),
    "owner-sql": Operation(module=_QUERY, task="{Service}MigrationsJob", takes_service=False),
}


def plan_task(name: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Returns the output that names the task definition of an operation, and the command. Raises DeployError."""
    operation = OPERATIONS[name]
    if "{Service}" not in operation.task:
        return operation.task, [operation.module, *operation.arguments, *arguments]
    service, *others = arguments or [""]
    if service not in TOPOLOGY:
        raise DeployError(f"The first argument of {name} must be one of {', '.join(TOPOLOGY)}, not {service!r}.")
    passed = arguments if operation.takes_service else others
    return operation.task.format(Service=service.capitalize()), [operation.module, *operation.arguments, *passed]
