"""The plans of statements with statistics of another time: they read the rows of a few keys."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from services.common.postgres.statement import Statement
from services.patient.erasures import FIND_NEXT
from services.patient.fhir.statements import GET_VERSION
from services.patient.models import CANCEL_ERASURE, GET_PATIENT, GET_PATIENTS, PATIENT_EXISTS, RESPONSES
from tests.harness.background import Background
from tests.harness.plans import count_rows_of_kept_plan
from tests.harness.sql import Sql

ROWS = 3000
MAX_ROWS = 20
PATIENT = UUID(int=1)

_ID = "lpad(to_hex(number), 32, '0')::uuid"
_NUMBERS = f"generate_series(1, {ROWS}) AS number"
_PATIENTS = (
    "INSERT INTO patients (id, name, email, email_key, address, date_of_birth, registered_date, phone, sex,"
    " search_key, create_time, update_time, delete_time, sequence, restricted)"
    f" SELECT {_ID}, '', number, number, '', now(), now(), '', 0, '', now(), now(),"
    f" CASE WHEN number > 1 THEN now() END, 1, true FROM {_NUMBERS}"
)
_REVISION = (
    "INSERT INTO revisions (patient_id, revision, actor_id, occur_time, type, patient)"
    " SELECT id, 1, '', now(), 1, '' FROM patients WHERE delete_time IS NULL"
)
_GRANTS = f"INSERT INTO patient_grants (user_id, patient_id) SELECT number, {_ID} FROM {_NUMBERS}"
_GRANTS_OF_CALLER = f"INSERT INTO patient_grants (user_id, patient_id) SELECT '', {_ID} FROM {_NUMBERS}"
_ERASURES = (
    "INSERT INTO erasures (patient_id, reason, actor_id, erase_time)"
    f" SELECT {_ID}, '', '', now() - interval '1 day' FROM {_NUMBERS}"
)
_EVENTS = (
    "INSERT INTO outbox (destination, event_id, key, type, payload, traceparent)"
    f" SELECT 'test', gen_random_uuid(), gen_random_uuid(), '', '', '' FROM {_NUMBERS}"
)
_RESPONSES = (
    "INSERT INTO answers (actor_id, request_type, request_id, digest)"
    f" SELECT number, 'CreatePatient', number, '' FROM {_NUMBERS}"
)


@pytest.fixture(scope="module")
def old_statistics_url(sql: Sql, database_url: str) -> str:
    """A database with statistics of a time when no event waited, each user had a grant, and other tables were empty."""
    for table in ("patients", "patient_grants", "erasures", "outbox", "answers"):
        sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    for statement in (_GRANTS, _EVENTS, "UPDATE outbox SET delivered_time = now()"):
        sql(statement)
    sql("VACUUM ANALYZE patients, patient_grants, erasures, outbox, answers")
    for statement in (_PATIENTS, _REVISION, _GRANTS_OF_CALLER, _ERASURES, _EVENTS, _RESPONSES):
        sql(statement)
    return database_url


@pytest.mark.parametrize("statement", [GET_PATIENT, GET_PATIENTS, PATIENT_EXISTS, GET_VERSION])
def test_patient_is_read_without_other_grants_of_the_caller(
    background: Background, old_statistics_url: str, statement: Statement
) -> None:
    rows = count(background, old_statistics_url, statement, id=PATIENT, ids=[PATIENT], version=1)
    assert rows["patient_grants"] <= MAX_ROWS


def test_undeletion_reads_no_erasures_of_other_patients(background: Background, old_statistics_url: str) -> None:
    rows = count(background, old_statistics_url, CANCEL_ERASURE, patient_id=PATIENT)
    assert rows["erasures"] <= MAX_ROWS


def test_next_erasure_is_found_without_events_of_others(background: Background, old_statistics_url: str) -> None:
    assert count(background, old_statistics_url, FIND_NEXT)["outbox"] <= MAX_ROWS


def test_expired_responses_are_found_without_the_others(background: Background, old_statistics_url: str) -> None:
    rows = count(background, old_statistics_url, RESPONSES._prune, retention=timedelta(days=1))
    assert rows["answers"] <= MAX_ROWS


def count(background: Background, url: str, statement: Statement, **values: Any) -> Mapping[str, int]:
    """Returns the number of rows that the plan of a statement reads, by table."""
    return background.run(count_rows_of_kept_plan(url, statement, **values))
