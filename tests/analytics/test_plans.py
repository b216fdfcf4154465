"""The plan of ListPatientEvents."""

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from gen.pulsetrack.analytics.v1 import ListPatientEventsRequest
from services.analytics.models import LIST_EVENTS
from services.common.postgres.statement import Statement
from tests.harness.background import Background

FILL = (
    "INSERT INTO patients (patient_id, sequence, deleted, restricted)"
    " SELECT md5(number::text)::uuid, 1, false, true FROM generate_series(1, 5000) AS number",
    "INSERT INTO events (event_id, patient_id, type, sequence, actor_id, occur_time, payload)"
    " SELECT gen_random_uuid(), patient_id, 1, 1, '', now(), '' FROM patients",
    "ANALYZE patients, events",
)


class PlanRecorder:
    """A database that records the plans of statements instead of running them."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.plans: list[str] = []

    async def rows(self, statement: Statement, /, **values: Any) -> list[asyncpg.Record]:
        rows = await self._connection.fetch(f"EXPLAIN {statement.sql}", *statement.arguments(values))
        self.plans.append("\n".join(row[0] for row in rows))
        return []


@pytest.fixture
def plan(background: Background, new_database: Callable[[str], str]) -> str:
    """The plan of a page of events, in a database with many restricted patients."""
    url = new_database("analytics")

    async def explain() -> str:
        connection = await asyncpg.connect(url)
        for statement in FILL:
            await connection.execute(statement)
        db = PlanRecorder(connection)
        await LIST_EVENTS[False, False].read_page(db, ListPatientEventsRequest(), accessible=None)
        await connection.close()
        return db.plans[0]

    return background.run(explain())


def test_page_of_events_reads_no_other_restricted_patients(plan: str) -> None:
    assert "patients_restricted" in plan
    assert "hashed" not in plan
