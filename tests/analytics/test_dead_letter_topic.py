"""The topic of dead letters: what cannot be stored is published there as it came, at least once."""

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


def test_the_topic_is_the_one_of_the_contract() -> None:
    assert DEAD_LETTERS_TOPIC == "patient.events.v1.dlq"


@pytest.mark.usefixtures("consumer")
def test_a_dead_letter_keeps_its_bytes_its_key_and_its_headers_and_says_why(publish: Publish, broker: str) -> None:
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
def test_a_dead_letter_too_large_to_say_why_is_kept_in_the_table_and_holds_nothing_up(
    publish: Publish, tell: Publish, sql: Sql
) -> None:
    key = str(uuid4())
    publish(OutgoingMessage(key=key, value=b"\xff" * (1_000_000 - 100 - len(key)), headers={}))
    tell(build_event("created"))
    eventually(lambda: sql("SELECT FROM dead_letters WHERE key = $1", key.encode()))
    again = build_message(build_event("created", key))
    publish(again)  # of the same partition, behind it
    eventually(lambda: sql("SELECT FROM events WHERE payload = $1", again.value))


def test_while_the_topic_is_away_events_are_stored_and_no_dead_letter_is_lost(
    background: Background,
    own_broker: Broker,
    new_database: Callable[[str], str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, publisher, away = new_database("analytics"), Publisher(own_broker.address, TOPIC), Broker(background, tmp_path)
    sql, key = Sql(background, url), str(uuid4())
    good = build_message(build_event("created", key))
    letter = OutgoingMessage(key=key, value=b"\xff\x00", headers={})
    background.run(publisher.topic_id())
    background.run(publisher.publish([letter, good]))
    with background.during(run_consumer(url, own_broker.address, dead_letters=away.address)):
        eventually(lambda: sql("SELECT FROM events WHERE payload = $1", good.value))
        eventually(lambda: "handling events failed, retrying" in caplog.text)
    away.start()
    try:
        with (
            background.during(run_consumer(url, own_broker.address, dead_letters=away.address)),
            open_topic(away.address, DEAD_LETTERS_TOPIC) as topic,
        ):
            assert topic.of(key)[0].value() == letter.value
    finally:
        away.kill()
    assert len(sql("SELECT FROM dead_letters")) == 1
