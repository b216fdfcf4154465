"""The addresses of Kafka servers, with TLS and without, and the settings of topics."""

import socket
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from services.common.messaging.topic import Topic, client_config
from services.common.messaging.topic_settings import DEAD_LETTERS, EVENTS, TopicSettings
from services.common.settings import SettingsError, SettingsWithKafka
from services.patient.__main__ import PatientSettings

_TLS_HANDSHAKE, _KAFKA_REQUEST = b"\x16", b"\0"


class BrokerTopic:
    """A topic with a random name, and its settings on the broker."""

    def __init__(self, broker: str) -> None:
        self.name = f"topic-{uuid4()}"
        self.admin = AdminClient(client_config(broker))
        self._broker = broker

    def reconcile(self, settings: TopicSettings) -> Topic:
        """Creates the topic or alters it, as a service does at its start."""
        topic = Topic(self._broker, self.name, settings)
        topic.find_id(create=True)
        return topic

    def count_partitions(self) -> int:
        return len(self.admin.list_topics(self.name, 20).topics[self.name].partitions)

    def read(self, setting: str) -> str | None:
        [found] = self.admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, self.name)]).values()
        return found.result(20)[setting].value  # type: ignore[no-any-return]


@pytest.mark.parametrize(("scheme", "first"), [("ssl://", _TLS_HANDSHAKE), ("", _KAFKA_REQUEST)])
def test_tls_is_used_only_for_ssl_addresses(scheme: str, first: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        broker.settimeout(30)
        topic = Topic(f"{scheme}127.0.0.1:{broker.getsockname()[1]}", "any")
        with closing(broker.accept()[0]) as connection:
            connection.settimeout(30)
            assert connection.recv(1) == first
        del topic


@pytest.mark.parametrize(
    "servers", ["https://kafka:9094", "ssl://", "kafka:9092/topic", "sasl_ssl://kafka:9094", "ssl://a:b@kafka:9094"]
)
def test_invalid_server_addresses_are_rejected(servers: str) -> None:
    environment = {
        "PULSETRACK_DATABASE_URL": "postgresql://127.0.0.1/patient",
        "PULSETRACK_LISTEN": "127.0.0.1:5000",
        "PULSETRACK_AUTH": "127.0.0.1:5001",
        "PULSETRACK_BILLING": "127.0.0.1:5002",
        "PULSETRACK_SERVICE_SECRET": "secret",
        "PULSETRACK_KAFKA": servers,
    }
    with pytest.raises(SettingsError, match=r"\$\.kafka`$"):
        PatientSettings.read(environment)


@pytest.mark.parametrize(
    ("servers", "password", "expected"),
    [
        ("kafka:9092", "secret", "kafka:9092"),
        ("ssl://kafka:9094", "secret", "ssl://kafka:9094"),
        ("sasl_ssl://patient:own@kafka:9096", "secret", "sasl_ssl://patient:own@kafka:9096"),
        ("sasl_ssl://patient@a:9096,b:9096", "s@c:r/t", "sasl_ssl://patient:s%40c%3Ar%2Ft@a:9096,b:9096"),
    ],
)
def test_password_is_inserted_if_the_user_has_none(servers: str, password: str, expected: str) -> None:
    settings = SettingsWithKafka(listen="", database_url="", auth="", kafka=servers, kafka_password=password)
    assert settings.kafka_servers() == expected


def test_user_without_a_password_is_rejected() -> None:
    settings = SettingsWithKafka(listen="", database_url="", auth="", kafka="sasl_ssl://patient@kafka:9096")
    with pytest.raises(SettingsError, match="Set PULSETRACK_KAFKA_PASSWORD"):
        settings.kafka_servers()


@pytest.fixture
def topic(broker: str) -> BrokerTopic:
    """A topic that does not exist yet."""
    return BrokerTopic(broker)


@pytest.mark.parametrize("settings", [EVENTS, DEAD_LETTERS])
def test_topic_is_created_with_its_settings(topic: BrokerTopic, settings: TopicSettings) -> None:
    topic.reconcile(settings)
    assert topic.count_partitions() == settings.partitions
    declared = settings.configuration(replicas=1)
    assert {name: topic.read(name) for name in declared} == declared


def test_different_setting_is_altered(topic: BrokerTopic) -> None:
    topic.reconcile(replace(EVENTS, retention=timedelta(days=1)))
    topic.reconcile(EVENTS)
    assert topic.read("retention.ms") == EVENTS.configuration(replicas=1)["retention.ms"]


def test_missing_partitions_are_reported_once_and_not_added(
    topic: BrokerTopic, caplog: pytest.LogCaptureFixture
) -> None:
    topic.reconcile(replace(EVENTS, partitions=2))
    service = topic.reconcile(EVENTS)
    service.find_id(create=True)
    assert topic.count_partitions() == 2
    [warning] = [record.getMessage() for record in caplog.records if topic.name in record.getMessage()]
    assert warning == f"the topic {topic.name} differs from its settings: it has 2 partitions instead of 6"


def test_topic_that_can_lose_a_replica_needs_two_in_sync() -> None:
    required = [EVENTS.configuration(replicas)["min.insync.replicas"] for replicas in (1, 2, 3)]
    assert required == ["1", "1", "2"]
