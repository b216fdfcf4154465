"""A relay's leases: what other transactions notice of a delivery, and what becomes of one that is interrupted."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import islice

import pytest
from asyncpg import Record

from gen.pulsetrack.patient.v1 import WatchPatientsRequest
from services.common.messaging import relay
from services.common.messaging.outbox import Outbox
from services.common.messaging.relay import Deliveries
from services.common.messaging.topic import KnownTopics
from services.common.postgres.database import Database
from services.patient.changes import TOPIC
from services.patient.models import known_topics, outbox_rows
from tests.harness.background import Background
from tests.harness.client import Client
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tests.patient.factory import create_request, update_request

DELIVERED = "SELECT FROM outbox WHERE key = $1 AND destination = $2 AND delivered_time IS NOT NULL"
HEARTBEATS = 40
"""How many answers of a watch to wait for, half a second between them."""


class Gate:
    """A destination that does not answer until its gate is opened."""

    name = TOPIC
    batch = 100

    def __init__(self, *, is_open: bool = False, first_life: str = "1") -> None:
        self.taken: list[tuple[str, str]] = []
        self.present_life = first_life
        self._open = asyncio.Event()
        if is_open:
            self._open.set()

    async def find_incarnation(self) -> str:
        """Returns the life that the test has set."""
        return self.present_life

    async def deliver(self, rows: Sequence[Record]) -> Sequence[None]:
        """Takes the rows, and answers when the gate is open."""
        self.taken += [(row["key"], row["type"].rpartition(".")[2]) for row in rows]
        await self._open.wait()
        return [None] * len(rows)

    async def open(self) -> None:
        """Opens the gate for good."""
        self._open.set()


@asynccontextmanager
async def relaying_to(url: str, gate: Gate) -> AsyncIterator[None]:
    """Delivers the outbox rows for Kafka to a gate."""
    async with Database(url) as db, Outbox(outbox_rows).relay(db, KnownTopics(known_topics), gate):
        yield


async def claim(url: str, lease: timedelta) -> None:
    """Claims what is due, as a relay does that is killed then."""
    async with Database(url) as db:
        assert await db.rows(Deliveries(outbox_rows).claim, destination=TOPIC, limit=1000, lease=lease)


def test_a_delivery_that_takes_long_delays_no_watch(
    patients: Client, background: Background, database_url: str
) -> None:
    patients.create_patient(create_request())
    gate = Gate()
    with background.during(relaying_to(database_url, gate)), patients.watch_patients(WatchPatientsRequest()) as answers:
        eventually(lambda: gate.taken)
        next(answers)
        created = patients.create_patient(create_request())
        seen = (answer.revision.patient for answer in islice(answers, HEARTBEATS) if answer.revision)
        assert next(seen) == created


def test_the_rows_of_a_patient_are_delivered_one_after_the_other(
    patients: Client, background: Background, database_url: str, sql: Sql
) -> None:
    patient = patients.create_patient(create_request())
    for number in range(5):
        patient = patients.update_patient(update_request(patient, name=f"Ana {number}"))
    gates = [Gate(is_open=True) for _ in range(3)]
    with (
        background.during(relaying_to(database_url, gates[0])),
        background.during(relaying_to(database_url, gates[1])),
        background.during(relaying_to(database_url, gates[2])),
    ):
        eventually(lambda: len(sql(DELIVERED, patient.id, TOPIC)) == 6)
    taken = sql(
        "SELECT type FROM outbox WHERE key = $1 AND destination = $2 ORDER BY delivered_time", patient.id, TOPIC
    )
    assert [row["type"].rpartition(".")[2] for row in taken] == ["PatientCreated", *["PatientUpdated"] * 5]


def test_the_rows_of_a_relay_that_was_killed_are_delivered_when_its_lease_ends(
    patients: Client, background: Background, database_url: str, sql: Sql
) -> None:
    created = patients.create_patient(create_request())
    background.run(claim(database_url, timedelta(seconds=1)))
    with background.during(relaying_to(database_url, Gate(is_open=True))):
        eventually(lambda: sql(DELIVERED, created.id, TOPIC))


def test_rows_written_before_the_clock_was_turned_back_are_delivered(
    patients: Client, background: Background, database_url: str, sql: Sql
) -> None:
    created = patients.create_patient(create_request())
    sql("UPDATE outbox SET due_time = now() + interval '1 hour' WHERE key = $1", created.id)
    with background.during(relaying_to(database_url, Gate(is_open=True))):
        eventually(lambda: sql(DELIVERED, created.id, TOPIC))


def test_a_relay_that_stops_gives_its_claim_back(
    patients: Client, background: Background, database_url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_LEASE", timedelta(hours=1))
    created = patients.create_patient(create_request())
    gate = Gate()
    with background.during(relaying_to(database_url, gate)):
        eventually(lambda: gate.taken)
    with background.during(relaying_to(database_url, Gate(is_open=True))):
        eventually(lambda: sql(DELIVERED, created.id, TOPIC))


def test_what_a_former_life_was_given_is_not_marked_as_delivered_in_the_next(
    patients: Client, background: Background, database_url: str, sql: Sql
) -> None:
    created = patients.create_patient(create_request())
    old, new = Gate(), Gate(first_life="2")
    with background.during(relaying_to(database_url, old)):
        eventually(lambda: (created.id, "PatientCreated") in old.taken)
        with background.during(relaying_to(database_url, new)):
            eventually(lambda: (created.id, "PatientCreated") in new.taken)
            old.present_life = "2"
            background.run(old.open())
            other = patients.create_patient(create_request())  # which the old one delivers next
            eventually(lambda: sql(DELIVERED, other.id, TOPIC))
            assert not sql(DELIVERED, created.id, TOPIC)
            background.run(new.open())
            eventually(lambda: sql(DELIVERED, created.id, TOPIC))


@pytest.fixture(scope="module")
def database_url(new_database: Callable[[str], str]) -> str:
    """A database of the module's own, as none of its rows is really delivered."""
    return new_database("patient")


@pytest.fixture(autouse=True)
def _known_life(sql: Sql) -> None:
    """Has relays know the first life of a gate: a new one would have every row delivered again."""
    sql("INSERT INTO topics (name, topic_id) VALUES ($1, '1') ON CONFLICT (name) DO UPDATE SET topic_id = '1'", TOPIC)
