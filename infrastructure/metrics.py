"""What CloudWatch counts beside its own: read from the log by filters, so that no task needs a right or an agent."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_logs as logs
from constructs import Construct

from infrastructure.settings import Environment

_MINUTE = cdk.Duration.minutes(1)
_FAULTS = (2, 13, 14)
"""UNKNOWN, INTERNAL, UNAVAILABLE: by gRPC the HTTP status is always 200. DEADLINE_EXCEEDED may be the caller's own."""


class Metrics(Construct):
    """The metrics of an environment, in a namespace of its own."""

    def __init__(self, scope: Construct, environment: Environment, log: logs.ILogGroup) -> None:
        super().__init__(scope, "Metrics")
        self._namespace = f"PulseTrack/{environment.name}"
        self._log = log
        self.outbox_age = self._filtered(
            "OutboxAge", logs.FilterPattern.number_value("$.outbox_age", ">", 0), value="$.outbox_age"
        ).metric(statistic="Maximum", period=_MINUTE)
        """For how many seconds the oldest event has waited that patient has to deliver; 0 if it is not late."""
        self.errors = self._filtered("Errors", logs.FilterPattern.string_value("$.level", "=", "ERROR")).metric(
            statistic="Sum", period=_MINUTE
        )
        """Lines of the log that a person should read."""
        by_rest = logs.FilterPattern.number_value("$.status", ">=", 500)
        by_grpc = [logs.FilterPattern.number_value("$.grpc_status", "=", code) for code in _FAULTS]
        self.refusals = self._filtered("Refusals", logs.FilterPattern.any(by_rest, *by_grpc)).metric(
            statistic="Sum", period=_MINUTE
        )
        """Calls that the gateway answered with a fault of ours."""
        self.consumer_lag = cloudwatch.Metric(
            namespace="AWS/Kafka",
            metric_name="SumOffsetLag",
            dimensions_map={
                "Cluster Name": f"pulsetrack-{environment.name}-data",
                "Consumer Group": "analytics",
                "Topic": "patient.events.v1",
            },
            statistic="Maximum",
            period=_MINUTE,
        )
        """Events that analytics has not stored yet, as MSK counts them."""

    def _filtered(self, name: str, pattern: logs.IFilterPattern, *, value: str = "1") -> logs.MetricFilter:
        """Counts the lines that fit a pattern; 0 is said of a minute in which none does."""
        return logs.MetricFilter(
            self,
            name,
            log_group=self._log,
            filter_pattern=pattern,
            metric_namespace=self._namespace,
            metric_name=name,
            metric_value=value,
            default_value=0,
        )
