"""A Kafka-compatible broker for a single test, and access to its messages."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from deploy.settings import HOST
from services.common.messaging.topic_settings import PARTITIONS
from tests.harness.background import Background
from tests.harness.waiting import eventually
from tools.local.part import RunningPart
from tools.local.system import build_broker
from tools.ports import free_port


class Broker:
    """A broker that a test can kill and restart. It loses its data when it is killed."""

    def __init__(self, background: Background, folder: Path) -> None:
        port = free_port()
        self.address = f"{HOST}:{port}"
        self._background = background
        self._running = RunningPart(build_broker(port), folder)

    def start(self) -> None:
        """Starts the broker and waits until it is ready."""
        self._background.run(self._running.start())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Suspends the broker during a block. Its connections stay open."""
        os.kill(self._running.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._running.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kills the broker with SIGKILL."""
        self._background.run(self._running.kill())


class Topic:
    """The messages of a topic, read from its beginning without a consumer group."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._messages: list[Message] = []

    def of(self, key: str, count: int = 1) -> list[Message]:
        """Waits for a number of messages with a key, and returns all messages with the key read so far."""

        def poll() -> list[Message]:
            if len(found := self._find(key)) < count:
                self._messages += [message for message in self._consumer.consume(500, 0.05) if not message.error()]
            return found if len(found) >= count else []

        return eventually(poll)

    def _find(self, key: str) -> list[Message]:
        return [message for message in self._messages if message.key() == key.encode()]


def read_headers(message: Message) -> dict[str, str]:
    """Returns the headers of a message as text."""
    return {name: bytes(content or b"").decode() for name, content in cast("list[Any]", message.headers() or [])}


@contextmanager
def open_topic(address: str, topic: str) -> Iterator[Topic]:
    """Opens a topic for reading while the context is open."""
    settings = {
        "bootstrap.servers": address,
        "group.id": "unused",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 50,
    }
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
    try:
        yield Topic(consumer)
    finally:
        consumer.close()
