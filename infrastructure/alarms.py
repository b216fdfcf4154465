"""The alarms. docs/operations.md describes the response to each."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infrastructure.data import Data
from infrastructure.edge import Edge
from infrastructure.metrics import Metrics
from infrastructure.settings import Environment

_MORE = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
_LESS = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
_GIB = 2**30


class Alarms(Construct):
    """The alarms of an environment, which are sent to its alarm address by email."""

    def __init__(self, scope: Construct, environment: Environment, *, metrics: Metrics, data: Data, edge: Edge) -> None:
        super().__init__(scope, "Alarms")
        self._environment = environment
        self._topic = self._add_topic(environment.alarm_email) if environment.alarm_email else None
        database, minute = data.database, cdk.Duration.minutes(1)
        free = database.metric_free_storage_space(statistic="Minimum", period=minute)
        busy = database.metric_cpu_utilization(statistic="Average", period=minute)
        gateways = edge.gateway.metrics.healthy_host_count(statistic="Minimum", period=minute)
        self._add("NoGateway", gateways, _LESS, 1, minutes=2, missing="BREACHING")
        self._add("Refusals", metrics.refusals, _MORE, 5, minutes=3)
        self._add("Errors", metrics.errors, _MORE, 0, minutes=1)
        self._add("OutboxLate", metrics.outbox_age, _MORE, 120, minutes=3)
        self._add("AnalyticsLate", metrics.consumer_lag, _MORE, 5_000, minutes=5)
        self._add("DatabaseFull", free, _LESS, environment.database.storage_gib * _GIB // 5, minutes=5)
        self._add("DatabaseBusy", busy, _MORE, 80, minutes=15)

    def _add(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        comparison: cloudwatch.ComparisonOperator,
        threshold: float,
        *,
        minutes: int,
        missing: str = "NOT_BREACHING",
    ) -> None:
        """Adds an alarm for a threshold that is crossed for a number of consecutive minutes."""
        alarm = cloudwatch.Alarm(
            self,
            name,
            alarm_name=f"pulsetrack-{self._environment.name}-{name}",
            alarm_description=f'docs/operations.md, "Monitoring and alarms", {name}',
            metric=metric,
            comparison_operator=comparison,
            threshold=threshold,
            evaluation_periods=minutes,
            treat_missing_data=cloudwatch.TreatMissingData[missing],
        )
        if self._topic:
            alarm.add_alarm_action(actions.SnsAction(self._topic))
            alarm.add_ok_action(actions.SnsAction(self._topic))

    def _add_topic(self, email: str) -> sns.Topic:
        """Adds a topic, encrypted with a key that CloudWatch alarms may use."""
        key = kms.Key(self, "Key", enable_key_rotation=True, removal_policy=cdk.RemovalPolicy.DESTROY)
        key.grant_encrypt_decrypt(iam.ServicePrincipal("cloudwatch.amazonaws.com"))
        topic = sns.Topic(self, "Topic", master_key=key, enforce_ssl=True)
        topic.add_subscription(subscriptions.EmailSubscription(email))
        return topic
