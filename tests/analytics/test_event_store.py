"""The consumer: it stores each event once, and invalid messages do not block it."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from gen.pulsetrack.analytics.v1 import GetPatientStatisticsRequest, ListPatientEventsRequest, PatientEventType
from gen.pulsetrack.patient.v1 import Patient, PatientCreated, PatientEvent
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

StoreEvents = Callable[..., None]
Publish = Callable[..., None]


def totals(analytics: Client) -> tuple[int, int]:
    found = analytics.get_patient_statistics(GetPatientStatisticsRequest())
    return found.total_patients, found.total_deleted


def test_duplicate_event_is_stored_once(analytics: Client, store_events: StoreEvents) -> None:
    event = build_event("created", patient_id := str(uuid4()))
    before = totals(analytics)
    store_events(event, event)
    store_events(event, build_event("created"))
    assert len(analytics.list_patient_events(ListPatientEventsRequest(patient_id=patient_id)).events) == 1
    assert totals(analytics) == (before[0] + 2, before[1])


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_event_order_does_not_affect_totals(
    analytics: Client, store_events: StoreEvents, order: tuple[int, ...]
) -> None:
    patient_id = str(uuid4())
    events = [
        build_event("created", patient_id),
        build_event("deleted", patient_id, sequence=2),
        build_event("undeleted", patient_id, sequence=3),
    ]
    patients, deleted = totals(analytics)
    store_events(*(events[number] for number in order))
    assert totals(analytics) == (patients + 1, deleted)
    again = build_event("deleted", patient_id, sequence=4)
    store_events(again)
    store_events(*events, again, build_event("updated", patient_id, sequence=3))
    assert totals(analytics) == (patients, deleted + 1)


def test_merged_patient_is_counted_as_a_deleted_one(analytics: Client, store_events: StoreEvents) -> None:
    patients, deleted = totals(analytics)
    store_events(build_event("created", patient_id := str(uuid4())), build_event("merged", patient_id, sequence=2))
    assert totals(analytics) == (patients, deleted + 1)
    store_events(build_event("unmerged", patient_id, sequence=3))
    assert totals(analytics) == (patients + 1, deleted)
    events = analytics.list_patient_events(ListPatientEventsRequest(patient_id=patient_id)).events
    assert [event.type for event in events] == [
        PatientEventType.UNMERGED,
        PatientEventType.MERGED,
        PatientEventType.CREATED,
    ]


def serialize_raw(**fields: Any) -> bytes:
    """Returns a serialized event with values that the generated classes cannot write."""
    good = contract.message_class("pulsetrack.patient.v1.PatientEvent").FromString(
        build_message(build_event("created")).value
    )
    good.MergeFrom(type(good)(**fields))
    return good.SerializeToString()


NOW = datetime.now(UTC)
INVALID_VALUES: dict[str, bytes] = {
    "garbage": b"\xff\xff\xff",
    "text": b"hello",
    "truncated": build_message(build_event("created")).value[:-3],
    "an event without a change": build_message(PatientEvent(event_id=str(uuid4()), occur_time=NOW)).value,
    "no patient": build_message(build_event("created", created=PatientCreated())).value,
    "no patient id": build_message(build_event("created", created=PatientCreated(patient=Patient()))).value,
    "a patient id that is not a UUID": build_message(build_event("created", "42")).value,
    "an event id that is not a UUID": build_message(build_event("created", event_id="42")).value,
    "no event id": build_message(build_event("created", event_id="")).value,
    "no time": build_message(build_event("created", occur_time=None)).value,
    "a time beyond the year 9999": serialize_raw(occur_time={"seconds": 10**12}),
    "an actor with a NUL character": build_message(build_event("created", actor_id="a\x00b")).value,
}


@pytest.mark.usefixtures("consumer")
@pytest.mark.parametrize("value", INVALID_VALUES.values(), ids=INVALID_VALUES)
def test_invalid_message_becomes_a_dead_letter_and_delays_no_event(
    publish: Publish, sql: Sql, store_events: StoreEvents, value: bytes
) -> None:
    dead_letter = OutgoingMessage(key=KEY, value=value, headers={"ce_id": "42", "odd": b"\xff\x00", "none": None})
    publish(dead_letter, dead_letter)
    store_events(build_event("created"), build_event("created"))
    [dead_letter] = sql("SELECT * FROM dead_letters WHERE value = $1", value)
    assert (dead_letter["topic"], dead_letter["key"]) == (TOPIC, KEY.encode())
    assert dead_letter["reason"]
    assert '"ce_id": "42"' in dead_letter["headers"]


def forge(**fields: Any) -> OutgoingMessage:
    """Returns a message with a deletion that the patient service cannot have published."""
    return build_message(build_event("deleted", str(uuid7()), **fields))


FORGED = {
    "a sequence of 2^62": (forge(sequence=2**62), "the sequence 4611686018427387904 is not between 1 and"),
    "a sequence too large for the age of the patient": (
        forge(sequence=1_000_000),
        "the sequence 1000000 is not between",
    ),
    "no sequence": (forge(sequence=0), "the sequence 0 is not between"),
    "a negative sequence": (forge(sequence=-1), "the sequence -1 is not between"),
    "an event id of another UUID version": (forge(event_id=str(uuid4())), "is not a version 7 UUID"),
    "another patient's key": (replace(forge(), key=str(uuid7())), "the key is not the patient id"),
    "a header with another event id": (
        replace(forge(), headers=dict(forge().headers) | {"ce_type": "pulsetrack.patient.v1.PatientDeleted"}),
        "the header ce_id is not",
    ),
    "a header with another event type": (
        replace(sent := forge(), headers=dict(sent.headers) | {"ce_type": "pulsetrack.patient.v1.PatientCreated"}),
        "the header ce_type is not",
    ),
}


@pytest.mark.usefixtures("consumer")
@pytest.mark.parametrize(("message", "reason"), FORGED.values(), ids=FORGED)
def test_forged_event_becomes_a_dead_letter_with_a_reason(
    publish: Publish, sql: Sql, store_events: StoreEvents, message: OutgoingMessage, reason: str
) -> None:
    before = sql("SELECT count(*) FROM patients")
    publish(message)
    [dead_letter] = eventually(lambda: sql("SELECT reason FROM dead_letters WHERE value = $1", message.value))
    assert reason in dead_letter["reason"]
    assert sql("SELECT count(*) FROM patients") == before


def test_event_after_many_lost_events_is_stored(store_events: StoreEvents) -> None:
    store_events(build_event("updated", str(uuid7()), sequence=9_000))


@pytest.mark.usefixtures("consumer")
def test_message_without_key_and_value_becomes_a_dead_letter(publish: Publish, sql: Sql) -> None:
    nothing: Any = None
    publish(OutgoingMessage(key=nothing, value=nothing, headers={"mark": "tombstone"}))
    eventually(lambda: sql("SELECT FROM dead_letters WHERE headers ->> 'mark' = 'tombstone'"))


def test_valid_events_in_a_batch_with_an_invalid_one_are_stored(
    store_events: StoreEvents, publish: Publish, sql: Sql
) -> None:
    bad = build_message(build_event("created", actor_id="\x00"))
    good = [build_event("created") for _ in range(20)]
    publish(*map(build_message, good[:10]), bad, *map(build_message, good[10:]))
    store_events(*good)


def test_consumer_started_before_the_topic_exists_gets_all_events(
    background: Background, own_broker: Broker, new_database: Callable[[str], str]
) -> None:
    url, publisher = new_database("analytics"), Publisher(own_broker.address, TOPIC)
    with background.during(run_consumer(url, own_broker.address)):
        background.run(publisher.topic_id())
        background.run(publisher.publish([build_message(build_event("created")) for _ in range(3)]))
        eventually(lambda: len(Sql(background, url)("SELECT FROM events")) == 3)


def test_no_event_is_lost_when_postgres_has_no_free_connection(
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


def test_no_event_is_lost_when_postgres_is_killed(background: Background, own_broker: Broker, tmp_path: Path) -> None:
    postgres = Postgres(tmp_path / "data", free_port(), secrets.token_urlsafe())
    running = RunningPart(postgres.part(), tmp_path)
    publisher = Publisher(own_broker.address, TOPIC)
    background.run(publisher.topic_id())
    events = [build_event("created") for _ in range(60)]

    def publish(part: list[PatientEvent]) -> None:
        background.run(publisher.publish([build_message(event) for event in part]))

    def list_stored() -> list[str]:
        return sorted(str(row["event_id"]) for row in Sql(background, postgres.url())("SELECT event_id FROM events"))

    with background.during(running):
        migrate("analytics", postgres.url())
        with background.during(run_consumer(postgres.url(), own_broker.address)):
            publish(events[:20])
            eventually(list_stored)
            background.run(running.kill())
            publish(events[20:40])
            background.run(running.start())
            publish(events[40:])
            eventually(lambda: list_stored() == sorted(event.event_id for event in events))
