"""Erasures for tests: requests, and the task that executes them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg

from gen.pulsetrack.patient.v1 import ErasePatientRequest, ErasePatientResponse, Patient
from services.common.audit.events import AccessLog
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Database
from services.patient.erasures import Eraser
from services.patient.models import AUDIT, outbox_rows
from tests.harness.client import Client
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

REASON = "Request 2026-117"
DELIVER = "UPDATE outbox SET delivered_time = now() WHERE key = $1"
MAKE_DUE = "UPDATE erasures SET erase_time = now() WHERE patient_id = $1"
EXECUTED = "SELECT FROM erasures WHERE patient_id = $1 AND execute_time IS NOT NULL"


@asynccontextmanager
async def run_eraser(url: str) -> AsyncIterator[None]:
    """Executes the erasures that are due."""
    async with (
        Database(url) as db,
        AccessLog(db, AUDIT) as log,
        Eraser(db, Outbox(outbox_rows), log, interval=0.05),
    ):
        yield


def request_erasure(admin: Client, patient: Patient, reason: str = REASON) -> ErasePatientResponse:
    """Requests the erasure of a patient. Raises Rejected."""
    response: ErasePatientResponse = admin.erase_patient(ErasePatientRequest(id=patient.id, reason=reason))
    return response


def erase(admin: Client, sql: Sql, patient: Patient) -> None:
    """Requests the erasure of a patient, and waits until a running eraser has executed it."""
    request_erasure(admin, patient)
    sql(DELIVER, patient.id)
    sql(MAKE_DUE, patient.id)
    eventually(lambda: sql(EXECUTED, patient.id))


def dump(sql: Sql) -> Iterator[str]:
    """Yields each row of a database as text. Bytes are decoded as far as possible."""
    for [table] in sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        for row in sql(f'SELECT * FROM "{table}"'):
            yield f"{table}: {_to_text(row)}"


def _to_text(row: asyncpg.Record) -> str:
    return str([value.decode(errors="replace") if isinstance(value, bytes) else value for value in row.values()])
