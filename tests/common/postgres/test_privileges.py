"""The privileges of the role that a service runs as: it reads and writes rows, and cannot change an audit record."""

import secrets
from collections.abc import Callable
from importlib import import_module

import asyncpg
import pytest

from services.common.postgres.migrate import grant_privileges, migrate
from services.common.postgres.privileges import APPEND_ONLY, READ_ONLY, Privileges
from services.common.protobuf.contract import SERVICES
from tests.conftest import role_of
from tests.harness.background import Background
from tests.harness.sql import Sql
from tools.local.postgres import Postgres

GRANTED = """
    SELECT relname, string_agg(privilege, ', ' ORDER BY number) AS privileges FROM pg_class,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])
    WITH ORDINALITY AS privileges (privilege, number)
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND has_table_privilege($1, oid, privilege)
    GROUP BY relname
"""


def read_declared(service: str) -> Privileges:
    """Returns the privileges that a service declares."""
    privileges: Privileges = import_module(f"services.{service}.privileges").PRIVILEGES
    return privileges


def read_granted(sql: Sql, role: str) -> Privileges:
    """Returns the privileges of a role, by table."""
    return {row["relname"]: row["privileges"] for row in sql(GRANTED, role)}


def find_append_only(privileges: Privileges) -> set[str]:
    """Returns the tables to which rows can only be added."""
    return {table for table, granted in privileges.items() if granted == APPEND_ONLY}


@pytest.fixture(scope="module")
def service_sql(background: Background, database_url: str) -> Sql:
    """Runs statements in billing's database as billing's role."""
    return Sql(background, f"{database_url}?role={role_of('billing')}")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_declared_privileges_and_no_others(
    background: Background, new_database: Callable[[str], str], service: str
) -> None:
    sql = Sql(background, new_database(service))
    assert read_granted(sql, role_of(service)) == {"alembic_version": READ_ONLY, **read_declared(service)}


@pytest.mark.parametrize("service", SERVICES)
def test_privileges_are_declared_for_every_table(service: str) -> None:
    tables = import_module(f"services.{service}.models").metadata.tables
    assert read_declared(service).keys() == tables.keys()


@pytest.mark.parametrize("service", SERVICES)
def test_comments_mark_the_append_only_tables(service: str) -> None:
    tables = import_module(f"services.{service}.models").metadata.tables
    assert find_append_only(read_declared(service)) == {
        name for name, table in tables.items() if table.comment == "append-only"
    }


@pytest.mark.parametrize("service", SERVICES)
def test_audit_records_are_append_only(service: str) -> None:
    revisions = {"revisions"} if service == "patient" else set()
    assert find_append_only(read_declared(service)) == {"access_events", "access_groups", "access_seals"} | revisions


@pytest.mark.parametrize("table", ["access_events", "access_seals", "revisions"])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET transaction = 0", "DELETE FROM {}", "TRUNCATE {}", "ALTER TABLE {} ADD more int"]
)
def test_rows_of_append_only_tables_cannot_be_changed(
    background: Background, new_database: Callable[[str], str], statement: str, table: str
) -> None:
    sql = Sql(background, f"{new_database('patient')}?role={role_of('patient')}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        sql(statement.format(table))


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE accounts",
        "ALTER TABLE accounts ADD more int",
        "CREATE TABLE more ()",
        "TRUNCATE accounts",
        "UPDATE alembic_version SET version_num = '0001'",
    ],
)
def test_a_service_cannot_change_its_schema(service_sql: Sql, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        service_sql(statement)


def test_undeclared_privileges_are_revoked(background: Background, postgres: Postgres) -> None:
    name = f"rights_{secrets.token_hex(4)}"
    Sql(background, postgres.url())(f"CREATE DATABASE {name}")
    migrate("patient", postgres.url(name))
    sql = Sql(background, postgres.url(name))
    sql(f'CREATE ROLE "{name}-role"')
    sql(f'GRANT ALL ON access_events TO "{name}-role"')
    for _ in range(2):
        background.run(grant_privileges("patient", postgres.url(name), f"{name}-role"))
    assert read_granted(sql, f"{name}-role")["access_events"] == APPEND_ONLY
