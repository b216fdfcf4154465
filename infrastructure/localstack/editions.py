"""Which edition of LocalStack has which of the services that PulseTrack needs."""

from collections.abc import Mapping
from typing import Any

NEEDED: Mapping[str, str] = {
    "application-autoscaling": "Base",
    "cloudformation": "Free",
    "cloudwatch": "Free",
    "ec2": "Free",
    "ecr": "Base",
    "ecs": "Base",
    "elbv2": "Base",
    "iam": "Free",
    "logs": "Free",
    "rds": "Base",
    "secretsmanager": "Free",
    "servicediscovery": "Ultimate",
}
"""The smallest edition of each service, by the name in LocalStack's health response (docs/localstack.md)."""

_OFFERED = {"available", "running", "initialized", "starting"}


def describe_missing(health: Mapping[str, Any]) -> str:
    """Returns one sentence that names the missing services and their editions. Empty if LocalStack has all of them."""
    offered = {name for name, state in health.get("services", {}).items() if state in _OFFERED}
    parts = []
    for edition in dict.fromkeys(NEEDED.values()):
        names = [name for name, smallest in NEEDED.items() if smallest == edition and name not in offered]
        if names:
            parts.append(f"{', '.join(names)} (edition {edition})")
    running = f"LocalStack {health.get('version', 'of unknown version')} ({health.get('edition', 'unknown')} edition)"
    return f"{running} lacks {', and '.join(parts)}." if parts else ""
