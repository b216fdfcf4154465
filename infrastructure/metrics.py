"""Metrics from log filters and from MSK. Tasks need no agent and no AWS permissions for them."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_logs as logs
from constructs import Construct

from infrastructure.settings import Environment

_MINUTE = cdk.Duration.minutes(1)
_FAULTS = (2, 13, 14)
"""UNKNOWN, INTERNAL and UNAVAILABLE. The HTTP status of gRPC is always 200. Clients cause most DEADLINE_EXCEEDED."""


class Metrics(Construct):
    """The metrics of an environment, in a separate namespace."""

    def __init__(self, scope: Construct, environment: Environment, log: logs.ILogGroup) -> None:
        super().__init__(scope, "Metrics")
        self._namespace = f"PulseTrack/{environment.name}"
        self._log = log
        self.outbox_age = self._add_filter(
            "OutboxAge", logs.FilterPattern.number_value("$.outbox_age", ">", 0), value="$.outbox_age"
        ).metric(statistic="Maximum", period=_MINUTE)
        """The age of the oldest undelivered outbox event of patient, in seconds. 0 if it is not late."""
        self.errors = self._add_filter("Errors", logs.FilterPattern.string_value("$.level", "=", "ERROR")).metric(
            statistic="Sum", period=_MINUTE
        )
        """The number of log entries with level ERROR."""
        rest = logs.FilterPattern.number_value("$.status", ">=", 500)
        grpc = [logs.FilterPattern.number_value("$.grpc_status", "=", code) for code in _FAULTS]
        self.refusals = self._add_filter("Refusals", logs.FilterPattern.any(rest, *grpc)).metric(
            statistic="Sum", period=_MINUTE
        )
        """The number of calls that failed with a server error."""
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
        """The number of events that analytics has not consumed yet, as MSK reports it."""

    def _add_filter(self, name: str, pattern: logs.IFilterPattern, *, value: str = "1") -> logs.MetricFilter:
        """Adds a metric of the log entries that match a pattern. It is 0 in minutes without a match."""
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
