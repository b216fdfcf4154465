"""How far a consumer is behind its topic."""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, Message
from opentelemetry import metrics

from services.common.errors import DependencyUnavailable

_TIMEOUT_SECONDS = 1

_meter = metrics.get_meter("pulsetrack")
_lag = _meter.create_gauge(
    "pulsetrack.consumer.lag", unit="{message}", description="Messages that the consumer has not dealt with yet."
)
_age = _meter.create_gauge(
    "pulsetrack.consumer.age", unit="s", description="How old the oldest message is that it is dealing with."
)


def measure(consumer: Consumer, under_way: Sequence[Message], of: Mapping[str, str]) -> None:
    """Sets the gauges, for the partitions that this consumer has.

    Where a partition ends is what the answers to fetches said of it: when it is asked for it, the embedded broker says
    something else. Blocks. Raises DependencyUnavailable.
    """
    try:
        committed = consumer.committed(consumer.assignment(), _TIMEOUT_SECONDS)
        partitions = [(place.offset, *consumer.get_watermark_offsets(place, cached=True)) for place in committed]
    except KafkaException as error:
        raise DependencyUnavailable from error
    _lag.set(sum(max(0, end - max(done, begin)) for done, begin, end in partitions), of)
    now = time.time()
    _age.set(max((now - message.timestamp()[1] / 1000 for message in under_way), default=0.0), of)
