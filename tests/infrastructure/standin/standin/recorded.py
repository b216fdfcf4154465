"""Resources that the emulator does not support. They are recorded with their attributes and have no effect.

Security groups store their rules but block nothing. Nothing is scaled, and no flows are logged.
"""

import json
import secrets
from collections.abc import Callable
from typing import Any

from ministack.services import alb, ec2, msk
from ministack.services.cloudformation import provisioners

Properties = dict[str, Any]
Made = tuple[str, Properties]
Create = Callable[[str, Properties, str], Made]

HANDLERS = provisioners._RESOURCE_HANDLERS


def patch() -> None:
    """Adds handlers for the missing resource types."""
    HANDLERS["AWS::EC2::SecurityGroupIngress"] = _handler(_rule("IpPermissions"))
    HANDLERS["AWS::EC2::SecurityGroupEgress"] = _handler(_rule("IpPermissionsEgress"))
    HANDLERS["AWS::MSK::Cluster"] = _handler(_kafka)
    for kind in (
        "AWS::EC2::FlowLog",
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
    ):
        HANDLERS[kind] = _handler(_record)
    create = HANDLERS["AWS::ElasticLoadBalancingV2::LoadBalancer"]["create"]
    HANDLERS["AWS::ElasticLoadBalancingV2::LoadBalancer"]["create"] = _localize(create)


def _handler(create: Create) -> dict[str, Any]:
    def update(physical_id: str, _: Properties, new: Properties, stack: str, logical_id: str | None = None) -> Made:
        return physical_id, {"Id": physical_id, "Arn": physical_id}

    return {"create": create, "update": update, "delete": lambda physical_id, properties: None}


def _record(logical_id: str, properties: Properties, stack: str) -> Made:
    name = f"{stack}-{logical_id}-{secrets.token_hex(6)}"
    return name, {"Id": name, "Arn": f"arn:aws:standin:us-east-1:000000000000:{name}"}


def _rule(direction: str) -> Create:
    def create(logical_id: str, properties: Properties, stack: str) -> Made:
        group = ec2._security_groups[properties["GroupId"]]
        group.setdefault(direction, []).extend(provisioners._ec2_sg_permissions([properties]))
        return _record(logical_id, properties, stack)

    return create


def _kafka(logical_id: str, properties: Properties, stack: str) -> Made:
    """Records a cluster. Its bootstrap servers are those of a broker that the test has started."""
    status, _, body = msk._create_cluster(json.dumps(provisioners._pascal_to_camel(properties)).encode())
    if status >= 400:
        raise ValueError(f"AWS::MSK::Cluster: {body!r}")
    arn = json.loads(body)["clusterArn"]
    return arn, {"Arn": arn}


def _localize(create: Create) -> Create:
    """Sets the DNS name of a load balancer to the address of its listeners."""

    def create_local(logical_id: str, properties: Properties, stack: str) -> Made:
        arn, attributes = create(logical_id, properties, stack)
        alb._lbs[arn]["DNSName"] = "127.0.0.1"
        return arn, attributes | {"DNSName": "127.0.0.1"}

    return create_local
