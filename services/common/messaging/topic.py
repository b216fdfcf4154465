"""Kafka topics, and their incarnations.

A topic's id (KIP-516) identifies one incarnation of the topic. The embedded broker stores nothing on disk: after a
restart it creates the topic again with a new id, and the relays publish the retained events again. Apache Kafka
preserves the ids of its topics.
"""

import logging
from typing import Any
from urllib.parse import unquote

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic, TopicDescription  # type: ignore[attr-defined]
from sqlalchemy import Column, MetaData, Table, Text, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from services.common.errors import DependencyUnavailable
from services.common.messaging.topic_settings import EVENTS, TIMEOUT_SECONDS, TopicSettings, reconcile
from services.common.postgres.database import Database, Transaction
from services.common.postgres.statement import Statement

_log = logging.getLogger(__name__)


class Topic:
    """A topic on the broker."""

    def __init__(self, bootstrap: str, name: str, settings: TopicSettings = EVENTS) -> None:
        self.name = name
        self._settings = settings
        self._reconciled: str | None = None
        self._admin = AdminClient(client_config(bootstrap))

    def find_id(self, *, create: bool = False) -> str | None:
        """Returns the id of the topic's current incarnation, or None if there is no such topic and `create` is False.

        `create` also reconciles the settings of each incarnation once. Blocks. Raises DependencyUnavailable.
        """
        try:
            topic = self._describe(create=create)
        except (KafkaException, TimeoutError) as error:
            raise DependencyUnavailable from error
        if topic is None:
            return None
        incarnation = str(topic.topic_id)
        if create and incarnation != self._reconciled:
            reconcile(self._admin, topic, self._settings)
            self._reconciled = incarnation
        return incarnation

    def _describe(self, *, create: bool) -> TopicDescription | None:
        """Returns the topic, which is created if it is missing and `create` is True."""
        try:
            topics = self._admin.describe_topics(TopicCollection([self.name]), request_timeout=TIMEOUT_SECONDS)
            found: TopicDescription = topics[self.name].result(TIMEOUT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
        else:
            return found
        if not create:
            return None
        self._create()
        return self._describe(create=True)

    def _create(self) -> None:
        new = NewTopic(self.name, self._settings.partitions, config=dict(self._settings.configuration(replicas=1)))
        results = self._admin.create_topics([new], request_timeout=TIMEOUT_SECONDS)
        try:
            results[self.name].result(TIMEOUT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


class KnownTopics:
    """The last known incarnation of each topic, stored in the service's database."""

    def __init__(self, table: Table) -> None:
        """Takes a table that topics_table created."""
        self._find = Statement(select(table.c.topic_id).where(table.c.name == bindparam("name")))
        new = insert(table).values(name=bindparam("name"), topic_id=bindparam("topic_id"))
        self._store = Statement(
            new.on_conflict_do_update(index_elements=[table.c.name], set_={"topic_id": new.excluded.topic_id})
        )

    async def find_incarnation(self, db: Database | Transaction, name: str) -> str | None:
        """Returns the last known incarnation of a topic, or None if the topic is unknown."""
        row = await db.row(self._find, name=name)
        return row["topic_id"] if row else None

    async def store_incarnation(self, db: Database | Transaction, name: str, incarnation: str) -> None:
        """Stores the current incarnation of a topic."""
        await db.row(self._store, name=name, topic_id=incarnation)


def topics_table(metadata: MetaData) -> Table:
    """Adds the table of KnownTopics to a service's tables."""
    return Table("topics", metadata, Column("name", Text, primary_key=True), Column("topic_id", Text, nullable=False))


def client_config(bootstrap: str) -> dict[str, Any]:
    """Returns the configuration that all Kafka clients share. Takes servers in the form of the setting `kafka`."""
    scheme, _, rest = bootstrap.rpartition("://")
    credentials, _, servers = rest.rpartition("@")
    username, _, password = map(unquote, credentials.partition(":"))
    sasl = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": username, "sasl.password": password}
    return {
        "bootstrap.servers": servers,
        "security.protocol": scheme or "plaintext",
        **(sasl if scheme.startswith("sasl_") else {}),
        "log.connection.close": False,
        "reconnect.backoff.max.ms": 1000,
        "logger": _log,
    }
