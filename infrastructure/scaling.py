"""When there are more tasks of a service, and when fewer again: by processor, and by what waits to be delivered."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs

from infrastructure.settings import Scale

CPU_PERCENT = 60

_OUT, _IN = cdk.Duration.minutes(1), cdk.Duration.minutes(5)


def scale_by_load(service: ecs.FargateService, scale: Scale) -> ecs.ScalableTaskCount:
    """Scales a service by its processors, between the least and the most that its environment says."""
    count = service.auto_scale_task_count(min_capacity=scale.least, max_capacity=scale.most)
    count.scale_on_cpu_utilization(
        "Cpu", target_utilization_percent=CPU_PERCENT, scale_in_cooldown=_IN, scale_out_cooldown=_OUT
    )
    return count


def scale_by_delay(count: ecs.ScalableTaskCount, metric: cloudwatch.Metric, *, target: int) -> None:
    """Scales by what waits as well: there are more tasks if either says so, and fewer if both do.

    That is so as long as both track a target (Application Auto Scaling): steps would end what the processors ask for.
    """
    count.scale_to_track_custom_metric(
        "Delay", metric=metric, target_value=target, scale_in_cooldown=_IN, scale_out_cooldown=_OUT
    )
