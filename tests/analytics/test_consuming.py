"""The consumer: each event is stored once, and nothing holds the others up."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from gen.pulsetrack.analytics.v1 import GetPatientStatisticsRequest, ListPatientEventsRequest
from gen.pulsetrack.patient.v1 import Patient, PatientCreated, PatientEvent
from services.analytics.domain import max_sequence
from services.common.messaging.producer import OutgoingMessage, Publisher
from services.common.postgres.migrate import migrate
from services.common.protobuf import contract
from services.patient.changes import TOPIC
from tests.analytics.factory import KEY, build_event, build_message
from tests.harness.background import Background
from tests.harness.broker import Broker
from tests.harness.client import Client
from tests.harness.delivery import run_consumer
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tools.local.part import RunningPart
from tools.local.postgres import Postgres
from tools.ports import free_port

Tell = Callable[..., None]
Publish = Callable[..., None]


def totals(analytics: Client) -> tuple[int, int]:
    found = analytics.get_patient_statistics(GetPatientStatisticsRequest())
    return found.total_patients, found.total_deleted


def test_an_event_that_comes_twice_is_stored_once(analytics: Client, tell: Tell) -> None:
    event = build_event("created", patient_id := str(uuid4()))
    before = totals(analytics)
    tell(event, event)
    tell(event, build_event("created"))
    assert len(analytics.list_patient_events(ListPatientEventsRequest(patient_id=patient_id)).events) == 1
    assert totals(analytics) == (before[0] + 2, before[1])


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_events_in_any_order_add_up_to_the_same(analytics: Client, tell: Tell, order: tuple[int, ...]) -> None:
    patient_id = str(uuid4())
    story = [
        build_event("created", patient_id),
        build_event("deleted", patient_id, sequence=2),
        build_event("undeleted", patient_id, sequence=3),
    ]
    patients, deleted = totals(analytics)
    tell(*(story[number] for number in order))
    assert totals(analytics) == (patients + 1, deleted)
    again = build_event("deleted", patient_id, sequence=4)
    tell(again)
    tell(*story, again, build_event("updated", patient_id, sequence=3))
    assert totals(analytics) == (patients, deleted + 1)


def raw(**fields: Any) -> bytes:
    """Returns the bytes of an event that our own code would not write."""
    good = contract.message_class("pulsetrack.patient.v1.PatientEvent").FromString(
        build_message(build_event("created")).value
    )
    good.MergeFrom(type(good)(**fields))
    return good.SerializeToString()


NOW = datetime.now(UTC)
NO_EVENTS: dict[str, bytes] = {
    "garbage": b"\xff\xff\xff",
    "text": b"hello",
    "truncated": build_message(build_event("created")).value[:-3],
    "an event of nothing": build_message(PatientEvent(event_id=str(uuid4()), occur_time=NOW)).value,
    "no patient": build_message(build_event("created", created=PatientCreated())).value,
    "no patient's id": build_message(build_event("created", created=PatientCreated(patient=Patient()))).value,
    "a patient's id that is no UUID": build_message(build_event("created", "42")).value,
    "an event's id that is no UUID": build_message(build_event("created", event_id="42")).value,
    "no event's id": build_message(build_event("created", event_id="")).value,
    "no time": build_message(build_event("created", occur_time=None)).value,
    "a time in no year": raw(occur_time={"seconds": 10**12}),
    "an actor with NUL in it": build_message(build_event("created", actor_id="a\x00b")).value,
}


@pytest.mark.usefixtures("consumer")
@pytest.mark.parametrize("value", NO_EVENTS.values(), ids=NO_EVENTS)
def test_what_is_no_event_is_kept_aside_and_holds_nothing_up(
    publish: Publish, sql: Sql, tell: Tell, value: bytes
) -> None:
    letter = OutgoingMessage(key=KEY, value=value, headers={"ce_id": "42", "odd": b"\xff\x00", "none": None})
    publish(letter, letter)
    tell(build_event("created"), build_event("created"))
    [kept] = sql("SELECT * FROM dead_letters WHERE value = $1", value)
    assert (kept["topic"], kept["key"]) == (TOPIC, KEY.encode())
    assert kept["reason"]
    assert '"ce_id": "42"' in kept["headers"]


def forged(**fields: Any) -> OutgoingMessage:
    """Returns a message with a deletion that the patient service would not publish."""
    return build_message(build_event("deleted", str(uuid7()), **fields))


FORGED = {
    "a sequence of 2^62": (forged(sequence=2**62), "the sequence 4611686018427387904 is not between 1 and"),
    "a sequence that the patient is too young for": (forged(sequence=1_000_000), "the sequence 1000000 is not between"),
    "no sequence": (forged(sequence=0), "the sequence 0 is not between"),
    "a negative sequence": (forged(sequence=-1), "the sequence -1 is not between"),
    "an event's id of another version": (forged(event_id=str(uuid4())), "is not a version 7 UUID"),
    "another patient's key": (replace(forged(), key=str(uuid7())), "the key is not the patient id"),
    "another event's id in a header": (
        replace(forged(), headers=dict(forged().headers) | {"ce_type": "pulsetrack.patient.v1.PatientDeleted"}),
        "the header ce_id is not",
    ),
    "another event's type in a header": (
        replace(sent := forged(), headers=dict(sent.headers) | {"ce_type": "pulsetrack.patient.v1.PatientCreated"}),
        "the header ce_type is not",
    ),
}


@pytest.mark.usefixtures("consumer")
@pytest.mark.parametrize(("letter", "reason"), FORGED.values(), ids=FORGED)
def test_a_forged_event_is_kept_aside_and_says_why(
    publish: Publish, sql: Sql, tell: Tell, letter: OutgoingMessage, reason: str
) -> None:
    before = sql("SELECT count(*) FROM patients")
    publish(letter)
    [kept] = eventually(lambda: sql("SELECT reason FROM dead_letters WHERE value = $1", letter.value))
    assert reason in kept["reason"]
    assert sql("SELECT count(*) FROM patients") == before


def test_an_event_after_many_that_were_lost_is_stored(tell: Tell) -> None:
    tell(build_event("updated", str(uuid7()), sequence=9_000))


def test_the_sequence_may_grow_with_the_age_of_the_patient() -> None:
    patient_id = uuid7()
    created = datetime.fromtimestamp((patient_id.int >> 80) / 1000, UTC)
    most = [max_sequence(patient_id, created + timedelta(seconds=seconds)) for seconds in (-3600, 0, 1, 86400)]
    assert most == [10_000, 10_000, 10_100, 8_650_000]


@pytest.mark.usefixtures("consumer")
def test_a_message_without_key_or_value_is_kept_aside(publish: Publish, sql: Sql) -> None:
    nothing: Any = None
    publish(OutgoingMessage(key=nothing, value=nothing, headers={"mark": "tombstone"}))
    eventually(lambda: sql("SELECT FROM dead_letters WHERE headers ->> 'mark' = 'tombstone'"))


def test_good_events_of_a_batch_with_a_bad_one_are_stored(tell: Tell, publish: Publish, sql: Sql) -> None:
    bad = build_message(build_event("created", actor_id="\x00"))
    good = [build_event("created") for _ in range(20)]
    publish(*map(build_message, good[:10]), bad, *map(build_message, good[10:]))
    tell(*good)


def test_a_consumer_that_is_there_before_the_topic_gets_all_its_events(
    background: Background, own_broker: Broker, new_database: Callable[[str], str]
) -> None:
    url, publisher = new_database("analytics"), Publisher(own_broker.address, TOPIC)
    with background.during(run_consumer(url, own_broker.address)):
        background.run(publisher.topic_id())
        background.run(publisher.publish([build_message(build_event("created")) for _ in range(3)]))
        eventually(lambda: len(Sql(background, url)("SELECT FROM events")) == 3)


def test_a_postgres_that_has_no_connection_left_loses_nothing(
    background: Background, own_broker: Broker, new_database: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    url, publisher = new_database("analytics"), Publisher(own_broker.address, TOPIC)
    owner, password = Sql(background, url), secrets.token_hex()
    owner(f"CREATE ROLE limited LOGIN PASSWORD '{password}'")
    owner("GRANT ALL ON ALL TABLES IN SCHEMA public TO limited")
    server = urlsplit(url)
    limited_url = server._replace(netloc=f"limited:{password}@{server.hostname}:{server.port}").geturl()
    with background.during(run_consumer(limited_url, own_broker.address)):
        owner("ALTER ROLE limited CONNECTION LIMIT 0")
        owner("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'limited'")
        background.run(publisher.topic_id())
        background.run(publisher.publish([build_message(build_event("created"))]))
        eventually(lambda: "handling events failed, retrying" in caplog.text)
        owner("ALTER ROLE limited CONNECTION LIMIT -1")
        eventually(lambda: owner("SELECT FROM events"))
    assert not owner("SELECT FROM dead_letters")


def test_a_postgres_that_is_killed_loses_nothing(background: Background, own_broker: Broker, tmp_path: Path) -> None:
    postgres = Postgres(tmp_path / "data", free_port(), secrets.token_urlsafe())
    running = RunningPart(postgres.part(), tmp_path)
    publisher = Publisher(own_broker.address, TOPIC)
    background.run(publisher.topic_id())
    events = [build_event("created") for _ in range(60)]

    def publish(part: list[PatientEvent]) -> None:
        background.run(publisher.publish([build_message(event) for event in part]))

    def stored() -> list[str]:
        return sorted(str(row["event_id"]) for row in Sql(background, postgres.url())("SELECT event_id FROM events"))

    with background.during(running):
        migrate("analytics", postgres.url())
        with background.during(run_consumer(postgres.url(), own_broker.address)):
            publish(events[:20])
            eventually(stored)
            background.run(running.kill())
            publish(events[20:40])
            background.run(running.start())
            publish(events[40:])
            eventually(lambda: stored() == sorted(event.event_id for event in events))
