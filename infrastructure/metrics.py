"""The metrics that scaling and alarms use, in addition to those that AWS publishes for each resource."""

from collections.abc import Mapping
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_logs as logs
from constructs import Construct

from infrastructure.settings import Environment

_MINUTE = cdk.Duration.minutes(1)
_FAULTS = (2, 13, 14)
"""UNKNOWN, INTERNAL and UNAVAILABLE. The HTTP status of gRPC is always 200. Clients cause most DEADLINE_EXCEEDED."""


@dataclass(frozen=True)
class LogMetric:
    """A metric of the log entries that match a pattern. It is 0 in minutes without a match."""

    name: str
    pattern: logs.IFilterPattern
    statistic: str
    value: str = "1"

    def add_filter(self, scope: Construct, environment: Environment, log: logs.ILogGroup) -> None:
        """Adds the filter that produces the metric."""
        logs.MetricFilter(
            scope,
            self.name,
            log_group=log,
            filter_pattern=self.pattern,
            metric_namespace=_namespace(environment),
            metric_name=self.name,
            metric_value=self.value,
            default_value=0,
        )

    def read(self, environment: Environment, period: cdk.Duration = _MINUTE) -> cloudwatch.Metric:
        """Returns the metric."""
        return cloudwatch.Metric(
            namespace=_namespace(environment), metric_name=self.name, statistic=self.statistic, period=period
        )


OUTBOX_AGE = LogMetric(
    "OutboxAge", logs.FilterPattern.number_value("$.outbox_age", ">", 0), "Maximum", value="$.outbox_age"
)
"""The age of the oldest undelivered outbox event of patient, in seconds. 0 if it is not late."""
ERRORS = LogMetric("Errors", logs.FilterPattern.string_value("$.level", "=", "ERROR"), "Sum")
"""The number of log entries with level ERROR."""
REFUSALS = LogMetric(
    "Refusals",
    logs.FilterPattern.any(
        logs.FilterPattern.number_value("$.status", ">=", 500),
        *(logs.FilterPattern.number_value("$.grpc_status", "=", code) for code in _FAULTS),
    ),
    "Sum",
)
"""The number of calls that failed with a server error."""
BACKUPS = LogMetric("Backups", logs.FilterPattern.string_value("$.backup", "=", "succeeded"), "Sum")
"""The number of backups that succeeded."""
LOG_METRICS = (OUTBOX_AGE, ERRORS, REFUSALS, BACKUPS)


def read_kafka(name: str, cluster: str, dimensions: Mapping[str, str] | None = None) -> cloudwatch.Metric:
    """Returns a metric of an MSK cluster."""
    return cloudwatch.Metric(
        namespace="AWS/Kafka",
        metric_name=name,
        dimensions_map={"Cluster Name": cluster, **(dimensions or {})},
        statistic="Maximum",
        period=_MINUTE,
    )


def read_consumer_lag(cluster: str) -> cloudwatch.Metric:
    """Returns the number of events that analytics has not consumed yet, as MSK reports it."""
    return read_kafka("SumOffsetLag", cluster, {"Consumer Group": "analytics", "Topic": "patient.events.v1"})


def read_running_tasks(cluster: str, service: str) -> cloudwatch.Metric:
    """Returns the number of a service's running tasks, as Container Insights reports it."""
    return cloudwatch.Metric(
        namespace="ECS/ContainerInsights",
        metric_name="RunningTaskCount",
        dimensions_map={"ClusterName": cluster, "ServiceName": service},
        statistic="Minimum",
        period=_MINUTE,
    )


def _namespace(environment: Environment) -> str:
    return f"PulseTrack/{environment.name}"
