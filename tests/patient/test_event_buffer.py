"""Tests that buffered access events survive shutdowns and database outages."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import GetPatientRequest
from services.common.audit import events
from services.common.audit.events import Access, AccessLog, current_access, record_stream_read
from services.common.errors import DependencyUnavailable
from services.common.postgres.database import Database
from services.common.postgres.migrate import migrate
from services.common.rpc.tokens import TokenVerifier
from services.patient.models import AUDIT
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.services import serve_service
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually
from tests.patient.factory import create_request
from tools.local.part import RunningPart
from tools.local.postgres import Postgres
from tools.ports import free_port

COUNT = "SELECT count(*) FROM access_events WHERE method LIKE '%/GetPatient' AND outcome = ANY($1)"


class LossyDatabase(Database):
    """A database that loses its first response to a copy."""

    has_failed = False

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        await super().copy(table, columns, rows)
        if not self.has_failed:
            self.has_failed = True
            raise DependencyUnavailable


def test_shutdown_writes_all_events(background: Background, new_database: Callable[[str], str], signer: Signer) -> None:
    url = new_database("patient")
    serving = serve_service("patient", url, TokenVerifier(signer.trust))
    with background.during(serving) as port, connect(port, "patient", signer.token("USER")) as patients:
        created = patients.create_patient(create_request())
        for _ in range(100):
            patients.get_patient(GetPatientRequest(id=created.id))
    assert Sql(background, url)(COUNT, ["OK"])[0]["count"] == 100


def test_events_survive_a_database_outage(background: Background, tmp_path: Path, signer: Signer) -> None:
    server = Postgres(tmp_path / "data", free_port(), "a password", {"fsync": "off"})
    running = RunningPart(server.part("database"), tmp_path)
    sql = Sql(background, server.url())
    with background.during(running):
        migrate("patient", server.url())
        serving = serve_service("patient", server.url(), TokenVerifier(signer.trust))
        with background.during(serving) as port, connect(port, "patient", signer.token("USER")) as patients:
            created = patients.create_patient(create_request())
            for _ in range(20):
                patients.get_patient(GetPatientRequest(id=created.id))
            background.run(running.kill())
            errors = [attempt(lambda: patients.get_patient(GetPatientRequest(id=created.id))) for _ in range(3)]
            assert [each.reason for each in errors] == ["DEPENDENCY_UNAVAILABLE"] * 3
            background.run(running.start())
            eventually(lambda: sql(COUNT, ["OK", "UNAVAILABLE"])[0]["count"] == 23)


def test_lost_response_does_not_duplicate_events(background: Background, new_database: Callable[[str], str]) -> None:
    url, patient_id = new_database("patient"), uuid4()

    async def record_three() -> None:
        async with LossyDatabase(url) as db, AccessLog(db, AUDIT) as log:
            current_access.set(Access(log, "pulsetrack.patient.v1.PatientService/GetPatient", "127.0.0.1"))
            for _ in range(3):
                record_stream_read([patient_id])

    background.run(record_three())
    assert Sql(background, url)(COUNT, ["OK"])[0]["count"] == 3


def test_calls_are_rejected_while_the_event_buffer_is_full(
    patients: Client, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = patients.create_patient(create_request())
    monkeypatch.setattr(events, "MAX_WAITING_EVENTS", 5)
    with sql.hold_locks("LOCK TABLE access_events IN EXCLUSIVE MODE"):
        for _ in range(5):
            patients.get_patient(GetPatientRequest(id=created.id))
        with pytest.raises(Rejected, match="UNAVAILABLE DEPENDENCY_UNAVAILABLE"):
            patients.get_patient(GetPatientRequest(id=created.id))
    eventually(lambda: attempt(lambda: patients.get_patient(GetPatientRequest(id=created.id))) == created)
