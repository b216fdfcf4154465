"""Old revisions are deleted by the owner of the tables."""

from datetime import UTC, datetime

from gen.pulsetrack.patient.v1 import GetPatientRequest, ListPatientRevisionsRequest, Patient, UpdatePatientRequest
from services.common.postgres.database import Database
from services.patient.prune_revisions import prune_revisions
from tests.harness.background import Background
from tests.harness.client import Client
from tests.harness.sql import Sql
from tests.patient.factory import create_request

AGE = "UPDATE revisions SET occur_time = '2020-01-01' WHERE patient_id = $1 AND revision <= $2"
BEFORE = datetime(2021, 1, 1, tzinfo=UTC)


async def prune(url: str) -> int:
    """Deletes the revisions before 2021."""
    async with Database(url) as db:
        return await prune_revisions(db, BEFORE)


def create_with_revisions(patients: Client, count: int) -> Patient:
    """Creates a patient that has a number of revisions."""
    patient: Patient = patients.create_patient(create_request())
    for number in range(1, count):
        patient = patients.update_patient(UpdatePatientRequest(patient=Patient(id=patient.id, phone=f"555010{number}")))
    return patient


def test_old_revisions_are_deleted(background: Background, patients: Client, sql: Sql, database_url: str) -> None:
    patient = create_with_revisions(patients, 3)
    sql(AGE, patient.id, 2)
    assert background.run(prune(database_url)) == 2
    [left] = patients.list_patient_revisions(ListPatientRevisionsRequest(id=patient.id)).revisions
    assert (left.revision, left.patient) == (3, patient)


def test_latest_revision_is_retained_at_any_age(
    background: Background, patients: Client, sql: Sql, database_url: str
) -> None:
    patient = create_with_revisions(patients, 2)
    sql(AGE, patient.id, 2)
    assert background.run(prune(database_url)) == 1
    sql("UPDATE patients SET message = NULL, message_sequence = NULL WHERE id = $1", patient.id)
    assert patients.get_patient(GetPatientRequest(id=patient.id)) == patient
