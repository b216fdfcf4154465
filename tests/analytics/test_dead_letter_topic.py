"""The dead-letter topic: messages that cannot be stored are published there unchanged, at least once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.analytics.dead_letters import TOPIC as DEAD_LETTERS_TOPIC
from services.common.messaging.producer import OutgoingMessage, Publisher
from services.patient.changes import TOPIC
from tests.analytics.factory import build_event, build_message
from tests.harness.background import Background
from tests.harness.broker import Broker, open_topic
from tests.harness.delivery import run_consumer
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

Publish = Callable[..., None]


def test_topic_name_matches_the_contract() -> None:
    assert DEAD_LETTERS_TOPIC == "patient.events.v1.dlq"


@pytest.mark.usefixtures("consumer")
def test_dead_letter_retains_key_value_and_headers_and_adds_the_reason(publish: Publish, broker: str) -> None:
    key, value = str(uuid4()), b"\xff\x00 no event"
    headers = [("ce_id", b"42"), ("odd", b"\xff\x00"), ("none", None), ("twice", b"1"), ("twice", b"2")]
    publish(OutgoingMessage(key=key, value=value, headers=headers))
    with open_topic(broker, DEAD_LETTERS_TOPIC) as topic:
        [letter] = topic.of(key)
    assert letter.value() == value
    found: Any = letter.headers()
    *original, (name, reason) = found
    assert original == headers
    assert name == "dead-letter-reason"
    assert b"DecodeError" in reason


@pytest.mark.usefixtures("consumer")
def test_dead_letter_too_large_for_the_topic_is_stored_in_the_table(
    publish: Publish, store_events: Publish, sql: Sql
) -> None:
    key = str(uuid4())
    publish(OutgoingMessage(key=key, value=b"\xff" * (1_000_000 - 100 - len(key)), headers={}))
    store_events(build_event("created"))
    eventually(lambda: sql("SELECT FROM dead_letters WHERE key = $1", key.encode()))
    again = build_message(build_event("created", key))
    publish(again)  # in the same partition, after the dead letter
    eventually(lambda: sql("SELECT FROM events WHERE payload = $1", again.value))


def test_unavailable_topic_delays_no_event_and_loses_no_dead_letter(
    background: Background,
    own_broker: Broker,
    new_database: Callable[[str], str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, publisher = new_database("analytics"), Publisher(own_broker.address, TOPIC)
    unavailable = Broker(background, tmp_path)
    sql, key = Sql(background, url), str(uuid4())
    good = build_message(build_event("created", key))
    dead_letter = OutgoingMessage(key=key, value=b"\xff\x00", headers={})
    background.run(publisher.topic_id())
    background.run(publisher.publish([dead_letter, good]))
    with background.during(run_consumer(url, own_broker.address, dead_letters=unavailable.address)):
        eventually(lambda: sql("SELECT FROM events WHERE payload = $1", good.value))
        eventually(lambda: "handling events failed, retrying" in caplog.text)
    unavailable.start()
    try:
        with (
            background.during(run_consumer(url, own_broker.address, dead_letters=unavailable.address)),
            open_topic(unavailable.address, DEAD_LETTERS_TOPIC) as topic,
        ):
            assert topic.of(key)[0].value() == dead_letter.value
    finally:
        unavailable.kill()
    assert len(sql("SELECT FROM dead_letters")) == 1
