"""Static members of a consumer group on Apache Kafka, in a container. The embedded broker does not support them."""

import secrets
from collections.abc import Callable, Iterator

import pytest
import yaml

from deploy.compose import engine
from deploy.settings import HOST
from services.common.errors import DependencyUnavailable
from services.common.messaging import consumer as consumers
from services.common.messaging.producer import Publisher
from services.common.messaging.topic_settings import PARTITIONS
from tests.common.messaging.test_consumer import Handler, Topic, consume
from tests.harness.background import Background
from tests.harness.waiting import eventually
from tools.local.process import ROOT
from tools.ports import free_port

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def kafka(background: Background) -> Iterator[str]:
    """The address of a broker with the image of Compose."""
    image = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["kafka"]["image"]
    if engine.find_problem() or not engine.has_image(image):
        pytest.skip(f"the image {image} is not on this machine")
    port, name = free_port(), f"pulsetrack-test-{secrets.token_hex(4)}"
    environment = {
        "CLUSTER_ID": "3JqJ2kYvR1m8Jm0pDqkq9w",
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": f"HOST://:{port},CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"HOST://{HOST}:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "HOST:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "HOST",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_HEAP_OPTS": "-Xms256m -Xmx256m",
    }
    options = [f"--env={key}={value}" for key, value in environment.items()]
    engine.read("run", "--detach", "--name", name, f"--publish={HOST}:{port}:{port}", *options, image)
    try:
        eventually(lambda: is_ready(background, f"{HOST}:{port}"), seconds=90)
        yield f"{HOST}:{port}"
    finally:
        engine.read("rm", "--force", "--volumes", name)


def is_ready(background: Background, address: str) -> bool:
    """Returns whether the broker creates topics."""
    try:
        background.run(Publisher(address, "ready").topic_id())
    except DependencyUnavailable:
        return False
    return True


@pytest.fixture(scope="module")
def analytics_url(new_database: Callable[[str], str]) -> str:
    """A database with the table of known topics."""
    return new_database("analytics")


def publish_until(topic: Topic, is_done: Callable[[], object]) -> None:
    """Publishes messages until a condition is true."""

    def attempt() -> object:
        topic.publish(secrets.token_bytes(8))
        return is_done()

    eventually(attempt, seconds=60)


def test_replacement_takes_the_partitions_and_gives_them_back(
    background: Background, kafka: str, analytics_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "_FENCED_SECONDS", 1)
    monkeypatch.setattr(consumers, "_STATIC_SESSION_TIMEOUT_MS", 6000)
    topic, old, new, other = Topic(background, kafka), Handler(), Handler(), Handler()
    with (
        background.during(consume(analytics_url, topic, other, member_id="b")),
        background.during(consume(analytics_url, topic, old, member_id="a")) as replaced,
    ):
        publish_until(topic, lambda: old.partitions and other.partitions)
        of_other = other.watch_partitions()
        publish_until(topic, lambda: len(old.partitions) == len(of_other) == PARTITIONS // 2)
        with background.during(consume(analytics_url, topic, new, member_id="a")):
            publish_until(topic, lambda: new.partitions == old.partitions)
            assert len(of_other) == PARTITIONS // 2
        # The replacement is gone. The process that it replaced joins again, without the id.
        old.watch_partitions()
        publish_until(topic, lambda: old.partitions)
        assert not replaced.done()
