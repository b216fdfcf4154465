"""The leases of relays: slow, concurrent and interrupted deliveries, and incarnations of a destination."""

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
"""The number of watch responses to wait for, half a second apart."""


class Gate:
    """A destination that blocks deliveries until its gate is opened."""

    name = TOPIC
    batch = 100

    def __init__(self, *, is_open: bool = False, incarnation: str = "1") -> None:
        self.received: list[tuple[str, str]] = []
        self.incarnation = incarnation
        self._open = asyncio.Event()
        if is_open:
            self._open.set()

    async def find_incarnation(self) -> str:
        """Returns the incarnation that the test has set."""
        return self.incarnation

    async def deliver(self, rows: Sequence[Record]) -> Sequence[None]:
        """Records the rows, and returns when the gate is open."""
        self.received += [(row["key"], row["type"].rpartition(".")[2]) for row in rows]
        await self._open.wait()
        return [None] * len(rows)

    async def open(self) -> None:
        """Opens the gate permanently."""
        self._open.set()


@asynccontextmanager
async def relay_to(url: str, gate: Gate) -> AsyncIterator[None]:
    """Delivers the outbox rows for Kafka to a gate instead."""
    async with Database(url) as db, Outbox(outbox_rows).relay(db, KnownTopics(known_topics), gate):
        yield


async def claim_rows(url: str, lease: timedelta) -> None:
    """Claims the due rows, as a relay that is then killed."""
    async with Database(url) as db:
        claim = Deliveries(outbox_rows).claim
        assert await db.rows(claim, destination=TOPIC, floor=0, limit=1000, lease=lease)


def test_slow_delivery_does_not_delay_a_watch(patients: Client, background: Background, database_url: str) -> None:
    patients.create_patient(create_request())
    gate = Gate()
    with background.during(relay_to(database_url, gate)), patients.watch_patients(WatchPatientsRequest()) as responses:
        eventually(lambda: gate.received)
        next(responses)
        created = patients.create_patient(create_request())
        seen = (response.revision.patient for response in islice(responses, HEARTBEATS) if response.revision)
        assert next(seen) == created


def test_rows_of_a_patient_are_delivered_in_order_by_several_relays(
    patients: Client, background: Background, database_url: str, sql: Sql
) -> None:
    patient = patients.create_patient(create_request())
    for number in range(5):
        patient = patients.update_patient(update_request(patient, name=f"Ana {number}"))
    gates = [Gate(is_open=True) for _ in range(3)]
    with (
        background.during(relay_to(database_url, gates[0])),
        background.during(relay_to(database_url, gates[1])),
        background.during(relay_to(database_url, gates[2])),
    ):
        eventually(lambda: len(sql(DELIVERED, patient.id, TOPIC)) == 6)
    delivered = sql(
        "SELECT type FROM outbox WHERE key = $1 AND destination = $2 ORDER BY delivered_time", patient.id, TOPIC
    )
    assert [row["type"].rpartition(".")[2] for row in delivered] == ["PatientCreated", *["PatientUpdated"] * 5]


def test_rows_of_a_killed_relay_are_delivered_after_its_lease(
    patients: Client, background: Background, database_url: str, sql: Sql
) -> None:
    created = patients.create_patient(create_request())
    background.run(claim_rows(database_url, timedelta(seconds=1)))
    with background.during(relay_to(database_url, Gate(is_open=True))):
        eventually(lambda: sql(DELIVERED, created.id, TOPIC))


def test_rows_with_a_due_time_beyond_a_lease_are_delivered(
    patients: Client, background: Background, database_url: str, sql: Sql
) -> None:
    created = patients.create_patient(create_request())
    sql("UPDATE outbox SET due_time = now() + interval '1 hour' WHERE key = $1", created.id)
    with background.during(relay_to(database_url, Gate(is_open=True))):
        eventually(lambda: sql(DELIVERED, created.id, TOPIC))


def test_stopped_relay_releases_its_claim(
    patients: Client, background: Background, database_url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_LEASE", timedelta(hours=1))
    created = patients.create_patient(create_request())
    gate = Gate()
    with background.during(relay_to(database_url, gate)):
        eventually(lambda: gate.received)
    with background.during(relay_to(database_url, Gate(is_open=True))):
        eventually(lambda: sql(DELIVERED, created.id, TOPIC))


def test_delivery_to_an_old_incarnation_marks_no_row_of_the_new_one(
    patients: Client, background: Background, database_url: str, sql: Sql
) -> None:
    created = patients.create_patient(create_request())
    old, new = Gate(), Gate(incarnation="2")
    with background.during(relay_to(database_url, old)):
        eventually(lambda: (created.id, "PatientCreated") in old.received)
        with background.during(relay_to(database_url, new)):
            eventually(lambda: (created.id, "PatientCreated") in new.received)
            old.incarnation = "2"
            background.run(old.open())
            other = patients.create_patient(create_request())  # the old relay delivers it next
            eventually(lambda: sql(DELIVERED, other.id, TOPIC))
            assert not sql(DELIVERED, created.id, TOPIC)
            background.run(new.open())
            eventually(lambda: sql(DELIVERED, created.id, TOPIC))


@pytest.fixture(scope="module")
def database_url(new_database: Callable[[str], str]) -> str:
    """A separate database for this module, because its rows are not delivered to Kafka."""
    return new_database("patient")


@pytest.fixture(autouse=True)
def _known_incarnation(sql: Sql) -> None:
    """Stores the first incarnation of a gate as known. A new one would cause a second delivery of every row."""
    sql("INSERT INTO topics (name, topic_id) VALUES ($1, '1') ON CONFLICT (name) DO UPDATE SET topic_id = '1'", TOPIC)
