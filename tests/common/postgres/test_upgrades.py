"""Upgrades from every earlier version of the tables, with rows that the program of that version wrote."""

import secrets
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from services.common.postgres.migrate import migrate
from services.common.protobuf.contract import SERVICES
from tests.harness.background import Background
from tests.harness.schema import find_differences
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


class Database:
    """A database that is migrated one version at a time."""

    def __init__(self, background: Background, postgres: Postgres, service: str) -> None:
        self._background, self._postgres, self._service = background, postgres, service
        self.inserted = 0
        self._name = self._create()
        self.version = ""

    def versions(self) -> Iterator[str]:
        """Migrates to each version in turn, inserts rows there, and yields the version."""
        sql = Sql(self._background, self._postgres.url(self._name))
        for migration in find_migrations(self._service):
            self.version = migration.name[:4]
            migrate(self._service, self._postgres.url(self._name), to=self.version)
            for insert in INSERTS[self._service]:
                if insert.first <= self.version <= insert.last:
                    sql(f"{NEW} {insert.statement}")
                    self.inserted += 1
            yield self.version

    def copy(self) -> str:
        """Returns the URL of a copy."""
        return self._postgres.url(self._create(f"TEMPLATE {self._name}"))

    def check(self, url: str) -> None:
        """Checks that a database has the tables of the models, and all inserted rows."""
        assert self._background.run(find_differences(self._service, url)) == []
        tables = {statement.split()[2] for _, statement, _ in INSERTS[self._service]}
        counts = " + ".join(f"(SELECT count(*) FROM {table})" for table in tables)
        [(count,)] = Sql(self._background, url)(f"SELECT {counts}")
        assert count >= self.inserted  # some migrations insert rows

    def _create(self, options: str = "") -> str:
        name = f"upgrade_{secrets.token_hex(4)}"
        Sql(self._background, self._postgres.url())(f"CREATE DATABASE {name} {options}")
        return name


@pytest.mark.parametrize("service", SERVICES)
def test_rows_of_all_versions_are_migrated(background: Background, postgres: Postgres, service: str) -> None:
    database = Database(background, postgres, service)
    assert list(database.versions())
    database.check(database.copy())


@pytest.mark.soak
@pytest.mark.parametrize("service", SERVICES)
def test_every_version_is_migrated_at_once(background: Background, postgres: Postgres, service: str) -> None:
    database = Database(background, postgres, service)
    for _ in database.versions():
        url = database.copy()
        migrate(service, url)
        database.check(url)
