"""Upgrades from every earlier version of the tables, with rows that the program of that version wrote."""

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import pytest
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationInfo
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from services.common.postgres.migrate import configure_alembic, migrate
from services.common.protobuf.contract import SERVICES
from tests.harness.background import Background
from tests.harness.schema import find_differences, run_on
from tests.harness.sql import Sql
from tools.local.postgres import Postgres
from tools.migration_sql import find_migrations


class Insert(NamedTuple):
    """A statement that the programs of several versions run."""

    first: str
    statement: str
    last: str = "9999"


def insert_event(first: str, subject_ids: str = "subject_ids") -> Insert:
    """Inserts an access event."""
    columns = f"id, {subject_ids}, actor_id, method, outcome, occur_time, request_id, remote_address"
    return Insert(
        first, f"INSERT INTO access_events ({columns}) SELECT id, ARRAY[id], '', 'Get', 'OK', now(), '', '' FROM new"
    )


def insert_seal(first: str) -> Insert:
    """Inserts a seal."""
    return Insert(
        first,
        "INSERT INTO access_seals SELECT (SELECT count(*) + 1 FROM access_seals), id, 1, 1, digest FROM new",
    )


def insert_group(first: str) -> Insert:
    """Inserts a group of subjects."""
    return Insert(first, "INSERT INTO access_groups SELECT id, ARRAY[id] FROM new")


INSERTS = {
    "auth": (
        Insert(
            "0001",
            "INSERT INTO users (id, email, email_key, username, username_key, password_hash, role)"
            " SELECT id, text, text, text, text, '', 'USER' FROM new",
        ),
        Insert(
            "0001",
            "INSERT INTO refresh_tokens (digest, family_id, user_id, expire_time)"
            " SELECT digest, new.id, users.id, now() FROM new CROSS JOIN users LIMIT 1",
        ),
        Insert("0001", "INSERT INTO signing_keys (id, encrypted_pem) SELECT text, '' FROM new"),
        Insert("0004", "INSERT INTO failed_logins SELECT digest, ARRAY[now()], now() FROM new"),
        insert_event("0005"),
        insert_seal("0005"),
        insert_group("0007"),
    ),
    "patient": (
        Insert(
            "0001",
            "INSERT INTO patients (id, name, email, email_key, address, date_of_birth, registered_date, phone, sex,"
            " medical_record_number, search_key, create_time, update_time, delete_time, sequence)"
            " SELECT id, 'Old', text, text, '', '1980-02-29', '2020-01-31', '', 1, text, '', now(), now(), now(), 2"
            " FROM new",
        ),
        Insert(
            "0001",
            "INSERT INTO outbox (destination, event_id, key, type, payload, traceparent)"
            " SELECT 'billing', id, text, '', '', '' FROM new",
        ),
        Insert("0001", "INSERT INTO topics SELECT text, '' FROM new"),
        Insert("0002", "INSERT INTO answers SELECT '', '', text, digest, '', now() FROM new"),
        Insert("0003", "INSERT INTO revisions SELECT id, 1, '', now(), 1, '' FROM new"),
        insert_event("0006", "patient_ids"),
        insert_seal("0007"),
        insert_group("0012"),
    ),
    "billing": (
        Insert("0001", "INSERT INTO accounts SELECT id, id, '', '', 'CLOSED', now() FROM new", last="0001"),
        Insert(
            "0002", "INSERT INTO accounts (id, patient_id, name, email, closed) SELECT id, id, '', '', true FROM new"
        ),
        insert_event("0003"),
        insert_seal("0003"),
        insert_group("0004"),
    ),
    "analytics": (
        Insert("0001", "INSERT INTO events SELECT id, id, 1, 1, '', now(), now(), '' FROM new"),
        Insert("0001", "INSERT INTO patients (patient_id, sequence, deleted) SELECT id, 1, false FROM new"),
        Insert(
            "0001",
            'INSERT INTO dead_letters (digest, topic, partition, "offset", headers, reason)'
            " SELECT digest, '', 0, 0, '{}', '' FROM new",
        ),
        Insert("0001", "INSERT INTO topics SELECT text, '' FROM new"),
        insert_event("0004"),
        insert_seal("0004"),
        insert_group("0005"),
    ),
}
"""The statements of each service, in the columns that existed in their first version."""

NEW = (
    "WITH new AS MATERIALIZED"
    " (SELECT id, id::text AS text, id::text::bytea AS digest FROM gen_random_uuid() AS of (id))"
)


ADDED = {"patient": Counter({"revisions": 2, "outbox": 2})}
"""The rows that migrations add for the rows of earlier versions."""


@pytest.fixture
def empty(background: Background, postgres: Postgres) -> Callable[[], str]:
    """Creates databases without tables, and returns their URLs."""

    def create() -> str:
        name = f"upgrade_{secrets.token_hex(4)}"
        Sql(background, postgres.url())(f"CREATE DATABASE {name}")
        return postgres.url(name)

    return create


def list_versions(service: str) -> list[str]:
    """Returns the versions of the tables of a service."""
    return [migration.name[:4] for migration in find_migrations(service)]


def build_inserts(service: str, version: str) -> str:
    """Returns a statement that inserts a row with each statement of a version."""
    of_version = [insert for insert in INSERTS[service] if insert.first <= version <= insert.last]
    statements = "; ".join(f"{NEW} {insert.statement}" for insert in of_version)
    return f"DO $$ BEGIN {statements}; END $$"


def upgrade_with_rows(connection: Connection, service: str) -> None:
    """Runs all migrations, and inserts rows after each."""
    config = configure_alembic(service)
    script = ScriptDirectory.from_config(config)

    def insert(ctx: object, step: MigrationInfo, heads: object, run_args: object) -> None:  # called with these names
        connection.exec_driver_sql(build_inserts(service, str(step.up_revision_id)))

    def find_steps(revision: str, _: object) -> Any:
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(config, script, fn=find_steps) as environment:
        environment.configure(connection=connection, on_version_apply=insert, transaction_per_migration=True)
        environment.run_migrations()


def count_rows(sql: Sql, service: str) -> Counter[str]:
    """Returns the number of rows of each table that rows are inserted into."""
    tables = {insert.statement.split()[2] for insert in INSERTS[service]}
    counts = " UNION ALL ".join(f"SELECT '{table}' AS name, count(*) FROM {table}" for table in tables)
    return Counter({row["name"]: row["count"] for row in sql(counts)})


def count_inserts(service: str, versions: Sequence[str]) -> Counter[str]:
    """Returns the number of rows that are inserted into each table in some versions."""
    inserts = [(insert, version) for insert in INSERTS[service] for version in versions]
    return Counter(each.statement.split()[2] for each, version in inserts if each.first <= version <= each.last)


@pytest.mark.parametrize("service", SERVICES)
def test_rows_of_all_versions_are_migrated(background: Background, empty: Callable[[], str], service: str) -> None:
    url = empty()
    background.run(run_on(url, partial(upgrade_with_rows, service=service)))
    assert background.run(find_differences(service, url)) == []
    expected = count_inserts(service, list_versions(service))
    assert count_rows(Sql(background, url), service) == expected + ADDED.get(service, Counter())


@pytest.mark.soak
@pytest.mark.parametrize("service", SERVICES)
def test_each_version_is_migrated_at_once(background: Background, empty: Callable[[], str], service: str) -> None:
    for version in list_versions(service):
        url = empty()
        sql = Sql(background, url)
        migrate(service, url, to=version)
        sql(build_inserts(service, version))
        migrate(service, url)
        assert background.run(find_differences(service, url)) == []
        assert count_rows(sql, service) >= count_inserts(service, [version])  # some migrations add rows
