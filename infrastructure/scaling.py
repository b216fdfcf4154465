"""Scales services by CPU utilization and by delay."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs

from infrastructure.settings import Scale

CPU_PERCENT = 60

_OUT, _IN = cdk.Duration.minutes(1), cdk.Duration.minutes(5)


def scale_by_load(service: ecs.FargateService, scale: Scale) -> ecs.ScalableTaskCount:
    """Scales a service by CPU utilization, between the limits of its environment."""
    count = service.auto_scale_task_count(min_capacity=scale.least, max_capacity=scale.most)
    count.scale_on_cpu_utilization(
        "Cpu", target_utilization_percent=CPU_PERCENT, scale_in_cooldown=_IN, scale_out_cooldown=_OUT
    )
    return count


def scale_by_delay(count: ecs.ScalableTaskCount, metric: cloudwatch.Metric, *, target: int) -> None:
    """Also scales by a delay metric. Tasks are added if either metric requires it, and removed if both permit it.

    Application Auto Scaling behaves this way only if both policies track a target. A step policy would remove tasks
    that the CPU policy has added.
    """
    count.scale_to_track_custom_metric(
        "Delay", metric=metric, target_value=target, scale_in_cooldown=_IN, scale_out_cooldown=_OUT
    )
