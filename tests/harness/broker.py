"""A Kafka-protocol broker of a test's own, and a look at what was published to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from deploy.settings import HOST
from services.common.messaging.topic import PARTITIONS
from tests.harness.background import Background
from tests.harness.waiting import eventually
from tools.local.part import RunningPart
from tools.local.system import build_broker
from tools.ports import free_port


class Broker:
    """A broker that can be killed, which makes it forget everything, and started again."""

    def __init__(self, background: Background, folder: Path) -> None:
        port = free_port()
        self.address = f"{HOST}:{port}"
        self._background = background
        self._running = RunningPart(build_broker(port), folder)

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self._background.run(self._running.start())

    def kill(self) -> None:
        """Kills it, as SIGKILL does."""
        self._background.run(self._running.kill())


class Topic:
    """The messages of a topic, read from its beginning without a consumer group."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._messages: list[Message] = []

    def of(self, key: str, count: int = 1) -> list[Message]:
        """Waits until there are so many messages of a key, and returns those that were read so far."""

        def look() -> list[Message]:
            if len(found := self._seen(key)) < count:
                self._messages += [message for message in self._consumer.consume(500, 0.05) if not message.error()]
            return found if len(found) >= count else []

        return eventually(look)

    def _seen(self, key: str) -> list[Message]:
        return [message for message in self._messages if message.key() == key.encode()]


def read_headers(message: Message) -> dict[str, str]:
    """Returns a message's headers, all of them text."""
    return {name: bytes(content or b"").decode() for name, content in cast("list[Any]", message.headers() or [])}


@contextmanager
def open_topic(address: str, topic: str) -> Iterator[Topic]:
    """Reads a topic during a block."""
    settings = {
        "bootstrap.servers": address,
        "group.id": "nobody",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 50,
    }
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
    try:
        yield Topic(consumer)
    finally:
        consumer.close()
