"""Migrations of the patient service that change existing data."""

import secrets
from collections.abc import Callable
from uuid import uuid4

import pytest

from deploy.settings import HOST
from services.common.postgres.migrate import migrate
from services.common.settings import SettingsError
from tests.harness.background import Background
from tests.harness.delivery import Addresses, run_relays, serve_billing
from tests.harness.services import serve_auth
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tests.patient.factory import OLD_PATIENTS
from tools.local.postgres import Postgres
from tools.ports import free_port

OPEN_ACCOUNTS = (
    "INSERT INTO accounts (id, patient_id, name, email, create_time)"
    " SELECT id, id, 'Old', id::text, now() FROM unnest($1::uuid[]) AS old (id)"
)
DELETE_UNNOTICED = "UPDATE patients SET sequence = sequence + 1, delete_time = now() WHERE id = ANY($1::uuid[])"


def test_migration_closes_accounts_of_patients_deleted_earlier(
    background: Background, postgres: Postgres, new_database: Callable[[str], str], broker: str
) -> None:
    name = f"patient_{secrets.token_hex(4)}"
    url, billing_url = postgres.url(name), new_database("billing")
    Sql(background, postgres.url())(f"CREATE DATABASE {name}")
    migrate("patient", url, to="0002")
    old = [str(uuid4()) for _ in range(1500)]  # more than a batch
    active_ids, deleted = old[:2], old[2:]
    sql, billing = Sql(background, url), Sql(background, billing_url)
    sql(OLD_PATIENTS, old)
    sql(DELETE_UNNOTICED, deleted)
    billing(OPEN_ACCOUNTS, old)
    migrate("patient", url)
    assert sql("SELECT count(*), count(DISTINCT event_id) FROM outbox") == [(1498, 1498)]
    with background.during(serve_auth(new_database("auth"))) as auth:
        to = Addresses(broker, auth=f"{HOST}:{auth}", billing=f"{HOST}:{free_port()}")
        with background.during(serve_billing(billing_url, to)), background.during(run_relays(url, to)):
            eventually(lambda: not sql("SELECT FROM outbox WHERE delivered_time IS NULL"))
    active = billing("SELECT patient_id::text FROM accounts WHERE status = 'ACTIVE' ORDER BY 1")
    assert [row["patient_id"] for row in active] == sorted(active_ids)
    assert billing("SELECT count(*) FROM accounts") == [(1500,)]


def test_migration_fails_on_colliding_record_numbers_and_lists_the_patients(
    background: Background, postgres: Postgres
) -> None:
    name = f"patient_{secrets.token_hex(4)}"
    url = postgres.url(name)
    Sql(background, postgres.url())(f"CREATE DATABASE {name}")
    migrate("patient", url, to="0010")
    sql = Sql(background, url)
    one, other = [str(uuid4()) for _ in range(2)]
    sql(OLD_PATIENTS, [one, other])
    sql("UPDATE patients SET medical_record_number = 'mrn\u200b-1' WHERE id = $1", other)
    with pytest.raises(SettingsError, match="differ only in case") as error:
        migrate("patient", url)
    assert {one in str(error.value), other in str(error.value)} == {True}
    sql("UPDATE patients SET medical_record_number = NULL WHERE id = $1", other)
    migrate("patient", url)
