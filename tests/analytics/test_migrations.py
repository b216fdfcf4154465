"""Migrations of analytics that convert existing data."""

import secrets
from datetime import date
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.config import Config

from gen.pulsetrack.patient.v1 import PatientEvent, Sex
from services.common.postgres.migrate import migrate
from tests.analytics.factory import build_event, build_message
from tests.harness.background import Background
from tests.harness.sql import Sql
from tools.local.postgres import Postgres

STORE_EVENT = "INSERT INTO events VALUES ($1::uuid, $2, 1, $3, '', now(), now(), $4)"
STORE_PATIENT = "INSERT INTO patients VALUES ($1, $2, false) ON CONFLICT DO NOTHING"


@pytest.fixture
def old_url(background: Background, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with the tables of the first version."""
    name = f"analytics_{secrets.token_hex(4)}"
    Sql(background, postgres.url())(f"CREATE DATABASE {name}")
    upgrade = command.upgrade

    def upgrade_to_first(config: Config, _: str) -> None:
        upgrade(config, "0001")

    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", upgrade_to_first)
        migrate("analytics", postgres.url(name))
    return postgres.url(name)


def store(sql: Sql, patient_id: UUID, event: PatientEvent) -> None:
    """Stores an event as the first version did."""
    sql(STORE_EVENT, event.event_id, patient_id, event.sequence, build_message(event).value)
    sql(STORE_PATIENT, patient_id, event.sequence)


def test_sex_and_date_of_birth_are_filled_from_the_newest_event(background: Background, old_url: str) -> None:
    sql, known, invalid = Sql(background, old_url), uuid4(), uuid4()
    store(sql, known, build_event("updated", str(known), sequence=2, sex=Sex.FEMALE, date_of_birth="1990-05-01"))
    store(sql, known, build_event("created", str(known), sex=Sex.MALE, date_of_birth="1980-05-01"))
    store(sql, invalid, build_event("deleted", str(invalid), date_of_birth="nonsense"))
    migrate("analytics", old_url)
    rows = sql("SELECT patient_id, sex, date_of_birth FROM patients")
    assert {row["patient_id"]: (row["sex"], row["date_of_birth"]) for row in rows} == {
        known: (int(Sex.FEMALE), date(1990, 5, 1)),
        invalid: (int(Sex.UNSPECIFIED), None),
    }


def test_existing_dead_letters_get_ids_and_stay_unique(background: Background, old_url: str) -> None:
    sql = Sql(background, old_url)
    insert = """INSERT INTO dead_letters (digest, topic, partition, "offset", headers, reason)
        VALUES ($1, 't', 0, 0, '{}', '') ON CONFLICT DO NOTHING"""
    for digest in (b"1", b"2"):
        sql(insert, digest)
    migrate("analytics", old_url)
    sql(insert, b"2")
    rows = sql("SELECT id, attempts, replay_time FROM dead_letters")
    assert len({row["id"] for row in rows}) == 2
    assert [(row["attempts"], row["replay_time"]) for row in rows] == [(1, None), (1, None)]


def test_existing_events_and_patients_are_counted(background: Background, old_url: str) -> None:
    sql, patient_id = Sql(background, old_url), uuid4()
    store(sql, patient_id, build_event("created", str(patient_id), sex=Sex.FEMALE, date_of_birth="1990-05-17"))
    store(
        sql, patient_id, build_event("updated", str(patient_id), sequence=2, sex=Sex.FEMALE, date_of_birth="1990-05-17")
    )
    migrate("analytics", old_url)
    assert [row["count"] for row in sql("SELECT * FROM event_counts")] == [2]
    [counted] = sql("SELECT deleted, sex, birth_month, count FROM patient_counts")
    assert tuple(counted) == (False, Sex.FEMALE, date(1990, 5, 1), 1)
    [counted] = sql("SELECT deleted, sex, date_of_birth, count FROM birthday_counts")
    assert tuple(counted) == (False, Sex.FEMALE, date(1990, 5, 17), 1)
