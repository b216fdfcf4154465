"""The alarms. docs/operations.md describes the response to each."""

from collections.abc import Iterator
from dataclasses import dataclass

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
from infrastructure.jobs import Jobs
from infrastructure.metrics import (
    BACKUPS,
    ERRORS,
    OUTBOX_AGE,
    REFUSALS,
    read_consumer_lag,
    read_kafka,
    read_running_tasks,
)
from infrastructure.settings import Environment, KafkaSize
from infrastructure.stack import to_logical_id

_MORE = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
_LESS = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
_GIB = 2**30
_FREE_MEMORY = 100 * 2**20


@dataclass(frozen=True)
class Rule:
    """An alarm for a threshold that is crossed for a number of consecutive periods of the metric."""

    name: str
    metric: cloudwatch.IMetric
    comparison: cloudwatch.ComparisonOperator
    threshold: float
    periods: int
    missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING


class Alarms(Construct):
    """The alarms of an environment, which are sent to its alarm address by email."""

    def __init__(self, scope: Construct, environment: Environment, *, data: Data, edge: Edge, jobs: Jobs) -> None:
        super().__init__(scope, "Alarms")
        self._environment = environment
        self._topic = self._add_topic(environment.alarm_email) if environment.alarm_email else None
        breaching = cloudwatch.TreatMissingData.BREACHING
        self._add(Rule("NoGateway", edge.balancer.count_healthy(), _LESS, 1, 2, breaching))
        for rule in (
            *self._watch_log(),
            *self._watch_kafka(data),
            *self._watch_database(data),
            *self._watch_tasks(jobs),
        ):
            self._add(rule)

    def _watch_log(self) -> Iterator[Rule]:
        if self._environment.log_metrics:
            yield Rule("Refusals", REFUSALS.read(self._environment), _MORE, 5, 3)
            yield Rule("Errors", ERRORS.read(self._environment), _MORE, 0, 1)
            yield Rule("OutboxLate", OUTBOX_AGE.read(self._environment), _MORE, 120, 3)
            backups = BACKUPS.read(self._environment, cdk.Duration.hours(1))
            yield Rule("NoBackup", backups, _LESS, 1, 24, cloudwatch.TreatMissingData.BREACHING)

    def _watch_kafka(self, data: Data) -> Iterator[Rule]:
        if isinstance(self._environment.kafka, KafkaSize):
            yield Rule("AnalyticsLate", read_consumer_lag(data.kafka_name), _MORE, 5_000, 5)
            yield Rule("KafkaOffline", read_kafka("OfflinePartitionsCount", data.kafka_name), _MORE, 0, 2)
            for broker in range(1, self._environment.kafka.brokers + 1):
                used = read_kafka("KafkaDataLogsDiskUsed", data.kafka_name, {"Broker ID": str(broker)})
                yield Rule(f"KafkaFull{broker}", used, _MORE, 80, 5)

    def _watch_database(self, data: Data) -> Iterator[Rule]:
        database, size, minute = data.database, self._environment.database, cdk.Duration.minutes(1)
        storage = database.metric_free_storage_space(statistic="Minimum", period=minute)
        yield Rule("DatabaseFull", storage, _LESS, size.storage_gib * _GIB // 5, 5)
        busy = database.metric_cpu_utilization(statistic="Average", period=minute)
        yield Rule("DatabaseBusy", busy, _MORE, 80, 15)
        memory = database.metric_freeable_memory(statistic="Minimum", period=minute)
        yield Rule("DatabaseMemory", memory, _LESS, _FREE_MEMORY, 5)
        connections = database.metric_database_connections(statistic="Maximum", period=minute)
        yield Rule("DatabaseConnections", connections, _MORE, size.max_connections * 4 // 5, 5)

    def _watch_tasks(self, jobs: Jobs) -> Iterator[Rule]:
        for name, scale in self._environment.services.items():
            running = read_running_tasks(jobs.cluster.cluster_name, name)
            yield Rule(f"{to_logical_id(name)}Tasks", running, _LESS, scale.least, 5)

    def _add(self, rule: Rule) -> None:
        alarm = cloudwatch.Alarm(
            self,
            rule.name,
            alarm_name=f"pulsetrack-{self._environment.name}-{rule.name}",
            alarm_description=f'docs/operations.md, "Monitoring and alarms", {rule.name}',
            metric=rule.metric,
            comparison_operator=rule.comparison,
            threshold=rule.threshold,
            evaluation_periods=rule.periods,
            treat_missing_data=rule.missing,
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
