"""When there are more tasks of a service, and when fewer again: by processor, and by what waits to be delivered."""

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs

from infrastructure.settings import Environment

CPU_PERCENT = 60

OUTBOX_METRIC = ("PulseTrack", "OutboxOldestSeconds")
"""The namespace and name of the age of the oldest row that the patient service's outbox still has to deliver."""

_SECONDS = [
    autoscaling.ScalingInterval(upper=5, change=-1),
    autoscaling.ScalingInterval(lower=30, change=1),
    autoscaling.ScalingInterval(lower=120, change=2),
]
_MESSAGES = [
    autoscaling.ScalingInterval(upper=100, change=-1),
    autoscaling.ScalingInterval(lower=5_000, change=1),
    autoscaling.ScalingInterval(lower=50_000, change=2),
]


def scale_by_load(name: str, service: ecs.FargateService, environment: Environment) -> None:
    """Scales a service between the least and the most that its environment says."""
    scale = environment.services[name]
    count = service.auto_scale_task_count(min_capacity=scale.least, max_capacity=scale.most)
    count.scale_on_cpu_utilization(
        "Cpu",
        target_utilization_percent=CPU_PERCENT,
        scale_in_cooldown=cdk.Duration.minutes(5),
        scale_out_cooldown=cdk.Duration.minutes(1),
    )
    if name == "patient":
        count.scale_on_metric("Outbox", metric=_outbox(environment), scaling_steps=_SECONDS)
    if name == "analytics":
        count.scale_on_metric("Lag", metric=_lag(environment), scaling_steps=_MESSAGES)


def _outbox(environment: Environment) -> cloudwatch.Metric:
    namespace, name = OUTBOX_METRIC
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map={"Environment": environment.name},
        statistic="Maximum",
        period=cdk.Duration.minutes(1),
    )


def _lag(environment: Environment) -> cloudwatch.Metric:
    """Returns what MSK itself says of the consumers' lag."""
    return cloudwatch.Metric(
        namespace="AWS/Kafka",
        metric_name="SumOffsetLag",
        dimensions_map={
            "Cluster Name": f"pulsetrack-{environment.name}-data",
            "Consumer Group": "analytics",
            "Topic": "patient.events.v1",
        },
        statistic="Maximum",
        period=cdk.Duration.minutes(1),
    )
