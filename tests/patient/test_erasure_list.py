"""Lists of erasures: a database that was restored from an earlier backup repeats them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    GetPatientRequest,
    ListPatientRevisionsRequest,
    Patient,
    RevisionType,
    UndeletePatientRequest,
)
from services.common.postgres.database import Database
from services.common.settings import SettingsError
from services.patient.erasure_list import ErasureList, import_erasures
from services.patient.models import CANCEL_ERASURE
from tests.conftest import role_of
from tests.harness.background import Background
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID
from tests.harness.waiting import eventually
from tests.patient.access_events import wait_for_events
from tests.patient.erasing import DELIVER, EXECUTED, REASON, dump, request_erasure, run_eraser
from tests.patient.factory import create_request

LIST = "SELECT execute_time, erase_time, reason FROM erasures WHERE patient_id = $1"

Import = Callable[[ErasureList], int]


@pytest.fixture
def patient(patients: Client) -> Patient:
    """A patient of the backup."""
    created: Patient = patients.create_patient(create_request())
    return created


@pytest.fixture
def eraser(background: Background, database_url: str) -> Iterator[None]:
    """Executes erasures."""
    with background.during(run_eraser(f"{database_url}?role={role_of('patient')}")):
        yield


@pytest.fixture
def import_list(background: Background, database_url: str) -> Import:
    """Imports a list, and returns the number of pending erasures."""
    return lambda known: background.run(import_erasures(database_url, known))


def a_row(patient_id: str, *, executed: bool = True, due: timedelta = -timedelta(days=1)) -> dict[str, Any]:
    """Returns the row of an erasure in a list."""
    now = datetime.now(UTC)
    return {
        "patient_id": patient_id,
        "reason": REASON,
        "actor_id": ADMIN_ID,
        "request_time": now - timedelta(days=31),
        "erase_time": now + due,
        "execute_time": now if executed else None,
        "restricted": False,
    }


def a_list(*rows: dict[str, Any], time: datetime | None = None) -> ErasureList:
    """Returns a list, by default one that is older than all erasures of the tests."""
    time = time or datetime(2026, 1, 1, tzinfo=UTC)
    return ErasureList(origin="", time=time, erasures=msgspec.to_builtins(rows))


def read_types(admin: Client, patient: Patient) -> list[RevisionType]:
    """Returns the types of the revisions of a patient, newest first."""
    page = admin.list_patient_revisions(ListPatientRevisionsRequest(id=patient.id))
    return [revision.type for revision in page.revisions]


def is_deleted(client: Client, patient: Patient) -> bool:
    """Returns whether a patient is deleted or erased."""
    try:
        client.get_patient(GetPatientRequest(id=patient.id))
    except Rejected:
        return True
    return False


@pytest.mark.usefixtures("eraser")
def test_executed_erasure_of_a_restored_patient_is_repeated(
    admin: Client, sql: Sql, patient: Patient, import_list: Import
) -> None:
    assert import_list(a_list(a_row(patient.id))) == 1
    eventually(lambda: is_deleted(admin, patient))
    assert read_types(admin, patient) == [RevisionType.DELETED, RevisionType.CREATED]
    assert not sql(EXECUTED, patient.id)  # the events are not delivered
    sql(DELIVER, patient.id)
    eventually(lambda: sql(EXECUTED, patient.id))
    assert not any(patient.name in row or patient.email in row for row in dump(sql))
    events = wait_for_events(admin, patient.id, 3)
    repeated = [(event.actor_id, event.query) for event in events if event.method.endswith("/ErasePatient")]
    assert repeated == [(ADMIN_ID, '{"repeated":true}'), (ADMIN_ID, '{"executed":true}')]


@pytest.mark.usefixtures("eraser")
def test_restored_patient_is_deleted_at_once_and_erased_when_it_is_due(
    admin: Client, patients: Client, sql: Sql, patient: Patient, import_list: Import
) -> None:
    row = a_row(patient.id, executed=False, due=timedelta(days=1))
    import_list(a_list(row))
    eventually(lambda: is_deleted(admin, patient))
    sql(DELIVER, patient.id)
    other = patients.create_patient(create_request())
    import_list(a_list(a_row(other.id)))
    eventually(lambda: is_deleted(admin, other))
    sql(DELIVER, other.id)
    eventually(lambda: sql(EXECUTED, other.id))
    [erasure] = sql(LIST, patient.id)
    assert (erasure["execute_time"], erasure["erase_time"]) == (None, row["erase_time"])


@pytest.mark.usefixtures("eraser")
def test_patient_that_was_already_deleted_is_erased(
    admin: Client, sql: Sql, patient: Patient, import_list: Import
) -> None:
    admin.delete_patient(DeletePatientRequest(id=patient.id))
    sql(DELIVER, patient.id)
    import_list(a_list(a_row(patient.id)))
    eventually(lambda: sql(EXECUTED, patient.id))


def test_erasure_that_is_being_cancelled_does_not_delete_the_patient(
    background: Background, database_url: str, patients: Client, sql: Sql, import_list: Import
) -> None:
    """UndeletePatient cancels an erasure and restores the patient in one transaction."""
    undeleted, other = (patients.create_patient(create_request()) for _ in range(2))
    import_list(a_list(a_row(undeleted.id), a_row(other.id)))
    cancel = "DELETE FROM erasures WHERE patient_id = $1"
    with sql.hold_locks(cancel, undeleted.id, commit=True), background.during(run_eraser(database_url)):
        eventually(lambda: is_deleted(patients, other))
    assert not is_deleted(patients, undeleted)


def test_cancellation_keeps_an_erasure_that_was_executed_meanwhile(
    background: Background, database_url: str, sql: Sql, import_list: Import
) -> None:
    lost = str(uuid4())
    import_list(a_list(a_row(lost)))

    async def cancel() -> None:
        async with Database(database_url) as db, db.begin() as tx:
            await tx.run(CANCEL_ERASURE, patient_id=lost)

    background.run(cancel())
    assert sql(EXECUTED, lost)


@pytest.mark.parametrize("executed", [True, False])
def test_erasure_of_a_lost_patient_counts_as_executed(sql: Sql, import_list: Import, *, executed: bool) -> None:
    patient_id = str(uuid4())
    assert import_list(a_list(a_row(patient_id, executed=executed))) == 0
    assert sql(EXECUTED, patient_id)


def test_erasure_that_was_cancelled_after_the_backup_is_cancelled(
    admin: Client, sql: Sql, patient: Patient, import_list: Import
) -> None:
    request_erasure(admin, patient)
    import_list(a_list(time=datetime.now(UTC) + timedelta(minutes=1)))
    assert not sql(LIST, patient.id)
    assert admin.undelete_patient(UndeletePatientRequest(id=patient.id)).name == patient.name


def test_erasure_that_was_requested_after_the_list_was_written_is_kept(
    admin: Client, sql: Sql, patient: Patient, import_list: Import
) -> None:
    request_erasure(admin, patient)
    import_list(a_list())
    assert sql(LIST, patient.id)


def test_erasure_that_was_requested_again_after_the_backup_has_the_later_time(
    admin: Client, sql: Sql, patient: Patient, import_list: Import
) -> None:
    request_erasure(admin, patient, "An earlier request")
    row = a_row(patient.id, executed=False, due=timedelta(days=40))
    assert import_list(a_list(row)) == 1
    [erasure] = sql(LIST, patient.id)
    assert (erasure["erase_time"], erasure["reason"]) == (row["erase_time"], REASON)


def test_list_of_another_system_is_rejected(sql: Sql, patient: Patient, import_list: Import) -> None:
    known = a_list(a_row(patient.id))
    known.origin = "1790000000.000000"
    with pytest.raises(SettingsError, match="not that of the database"):
        import_list(known)
    assert not sql(LIST, patient.id)


def run(url: str, command: str, content: bytes = b"") -> bytes:
    """Runs the program as the owner of the tables, and returns its output."""
    program = [sys.executable, "-m", "services.patient.erasure_list", command]
    environment = os.environ | {"PULSETRACK_DATABASE_URL": url}
    return subprocess.run(program, env=environment, input=content, check=True, capture_output=True).stdout


def test_program_rejects_what_is_not_a_list(database_url: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(database_url, "import", b'{"origin": "\xff"}')
    assert failed.value.stderr.startswith(b"Cannot import the erasures: ")


def test_program_exports_and_imports_a_list_without_data_of_patients(
    admin: Client, sql: Sql, patient: Patient, database_url: str
) -> None:
    request_erasure(admin, patient, "The \u201cfirst\u201d request's \\ reason")
    before = sql(LIST, patient.id)
    exported = run(database_url, "export")
    assert patient.id in exported.decode()
    assert not [value for value in (patient.name, patient.email) if value in exported.decode()]
    sql("DELETE FROM erasures WHERE patient_id = $1", patient.id)
    assert run(database_url, "import", exported).startswith(b"The patient service executes ")
    assert sql(LIST, patient.id) == before
