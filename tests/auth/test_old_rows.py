"""Rows that have no more effect are deleted in the background, also those of users who never log in again."""

from collections.abc import Callable

import pytest

from gen.pulsetrack.auth.v1 import CreateInvitationRequest, CreatePasswordResetRequest
from services.auth.old_rows import OLD_ROWS
from services.common.postgres.database import Database
from services.common.postgres.retention import Retention
from tests.auth.factory import can_refresh
from tests.auth.second_factors import Person
from tests.harness.background import Background
from tests.harness.client import Client
from tests.harness.sql import Sql

Prune = Callable[[], None]

AGES = {
    "sessions": ("expire_time", "15 minutes", "17 minutes"),
    "refresh_tokens": ("expire_time", "50 minutes", "70 minutes"),
    "login_challenges": ("expire_time", "50 minutes", "70 minutes"),
    "password_resets": ("expire_time", "50 minutes", "70 minutes"),
    "email_verifications": ("expire_time", "50 minutes", "70 minutes"),
    "invitations": ("expire_time", "29 days", "31 days"),
    "mails": ("end_time", "6 days", "8 days"),
}
"""The column with the time of a table's rows, an age at which they are retained, and one at which they are deleted."""


@pytest.fixture
def prune(background: Background, database_url: str) -> Prune:
    """Deletes old rows once."""

    async def run() -> None:
        async with Database(database_url) as db:
            retention = Retention(db, *OLD_ROWS)
            retention.start()
            assert await retention.stop(grace_seconds=30)

    return lambda: background.run(run())


@pytest.fixture
def rows(admin: Client, person: Person, sql: Sql) -> None:
    """Rows in each table."""
    person.login()
    admin.create_password_reset(CreatePasswordResetRequest(user_id=person.id))
    invited = admin.create_invitation(CreateInvitationRequest(email=f"{person.id}@clinic.test"))
    sql("INSERT INTO mailed_invitations VALUES ($1, sha256(gen_random_uuid()::text::bytea))", invited.invitation.id)
    sql("INSERT INTO email_verifications VALUES ($1, sha256(gen_random_uuid()::text::bytea), now())", person.id)
    sql(
        "INSERT INTO mails (id, template, expire_time, outcome, end_time)"
        " VALUES (gen_random_uuid(), 'password_changed', now(), 'SENT', now())"
    )


@pytest.mark.usefixtures("rows")
def test_rows_are_retained_until_they_are_old(sql: Sql, prune: Prune) -> None:
    for table, (column, retained, _) in AGES.items():
        sql(f"UPDATE {table} SET {column} = now() - interval '{retained}'")
    before = {table: sql(f"SELECT count(*) FROM {table}") for table in AGES}
    prune()
    assert {table: sql(f"SELECT count(*) FROM {table}") for table in AGES} == before
    assert [(0,)] not in before.values()


@pytest.mark.usefixtures("rows")
def test_old_rows_of_every_table_are_deleted(sql: Sql, prune: Prune) -> None:
    for table, (column, _, deleted) in AGES.items():
        sql(f"UPDATE {table} SET {column} = now() - interval '{deleted}'")
    prune()
    counts = {table: sql(f"SELECT count(*) FROM {table}") for table in (*AGES, "mailed_invitations")}
    assert counts == {table: [(0,)] for table in counts}


def test_ended_session_is_deleted_before_it_expires(newcomer: Person, sql: Sql, prune: Prune) -> None:
    sql("UPDATE sessions SET end_time = now() - interval '17 minutes' WHERE user_id = $1", newcomer.id)
    prune()
    assert sql("SELECT FROM sessions WHERE user_id = $1", newcomer.id) == []


def test_active_session_is_retained(auth: Client, newcomer: Person, prune: Prune) -> None:
    prune()
    assert can_refresh(auth, newcomer.tokens)
