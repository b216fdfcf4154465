"""The declared settings of topics, and their reconciliation with the broker."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    TopicDescription,
)

PARTITIONS = 6
TIMEOUT_SECONDS = 5
"""How long a request to the broker may take."""

_REPLICAS_TO_LOSE_ONE = 3
_SEGMENT = timedelta(days=1)
"""The broker deletes whole segments: a record stays up to this much longer than the retention."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """The settings of a topic. The broker chooses the replication factor."""

    retention: timedelta
    partitions: int = PARTITIONS

    def configuration(self, replicas: int) -> Mapping[str, str]:
        """Returns the configuration of a topic with a number of replicas."""
        return {
            "cleanup.policy": "delete",
            "compression.type": "producer",
            "min.insync.replicas": "2" if replicas >= _REPLICAS_TO_LOSE_ONE else "1",
            "retention.ms": str(self.retention // timedelta(milliseconds=1)),
            "segment.ms": str(_SEGMENT // timedelta(milliseconds=1)),
        }


EVENTS = TopicSettings(retention=timedelta(days=7))
"""As long as the outbox retains delivered events by default."""
DEAD_LETTERS = TopicSettings(retention=timedelta(days=28))
"""With a segment, less than the 30 days after which a patient is erased by default."""


def reconcile(admin: AdminClient, topic: TopicDescription, settings: TopicSettings) -> None:
    """Alters a topic's configuration where it differs from the settings. Logs one warning for what it cannot alter.

    Additional partitions are kept, and missing ones are not added: keys would move to other partitions. Blocks.
    """
    problems = []
    if len(topic.partitions) < settings.partitions:
        problems.append(f"it has {len(topic.partitions)} partitions instead of {settings.partitions}")
    try:
        _alter(admin, topic, settings)
    except (KafkaException, TimeoutError) as error:
        problems.append(f"its configuration cannot be read or altered: {error}")
    if problems:
        _log.warning("the topic %s differs from its settings: %s", topic.name, "; ".join(problems))


def _alter(admin: AdminClient, topic: TopicDescription, settings: TopicSettings) -> None:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic.name)
    [found] = admin.describe_configs([resource], request_timeout=TIMEOUT_SECONDS).values()
    current = {name: entry.value for name, entry in found.result(TIMEOUT_SECONDS).items()}
    declared = settings.configuration(min((len(each.replicas) for each in topic.partitions), default=1))
    different = {name: value for name, value in declared.items() if current.get(name) != value}
    if not different:
        return
    changes = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in different.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic.name, incremental_configs=changes)
    [altered] = admin.incremental_alter_configs([resource], request_timeout=TIMEOUT_SECONDS).values()
    altered.result(TIMEOUT_SECONDS)
    before = ", ".join(f"{name} from {current.get(name)} to {value}" for name, value in different.items())
    _log.info("altered the topic %s: %s", topic.name, before)
