"""What the role that a service runs as may do in its database: read and write rows, and not undo what must stay."""

import secrets
from collections.abc import Callable
from importlib import import_module

import asyncpg
import pytest

from services.common.postgres.migrate import APPEND_ONLY, grant_privileges, migrate
from services.common.protobuf.contract import SERVICES
from tests.conftest import role_of
from tests.harness.background import Background
from tests.harness.sql import Sql
from tools.local.postgres import Postgres

RIGHTS = "SELECT relname, array_agg(privilege ORDER BY privilege) AS rights FROM {} GROUP BY relname"
OF_ROLE = """(
    SELECT relname, privilege FROM pg_class,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND has_table_privilege($1, oid, privilege)
)"""


@pytest.fixture(scope="module")
def as_service(background: Background, database_url: str) -> Sql:
    """Looks into billing's database in billing's role."""
    return Sql(background, f"{database_url}?role={role_of('billing')}")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_change_rows_but_only_add_to_what_is_append_only(
    background: Background, new_database: Callable[[str], str], service: str
) -> None:
    sql = Sql(background, new_database(service))
    rights = {row["relname"]: row["rights"] for row in sql(RIGHTS.format(OF_ROLE), role_of(service))}
    tables = import_module(f"services.{service}.models").metadata.tables
    assert rights == {"alembic_version": ["SELECT"]} | {
        name: ["INSERT", "SELECT"] if table.comment == APPEND_ONLY else ["DELETE", "INSERT", "SELECT", "UPDATE"]
        for name, table in tables.items()
    }


def test_what_tells_who_did_what_is_append_only() -> None:
    tables = import_module("services.patient.models").metadata.tables
    append_only = {name for name, table in tables.items() if table.comment == APPEND_ONLY}
    assert append_only == {"access_events", "access_groups", "access_seals", "revisions"}


@pytest.mark.parametrize("table", ["access_events", "access_seals", "revisions"])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET transaction = 0", "DELETE FROM {}", "TRUNCATE {}", "ALTER TABLE {} ADD more int"]
)
def test_what_is_append_only_cannot_be_undone(
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
def test_a_service_cannot_change_its_tables(as_service: Sql, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        as_service(statement)


def test_a_right_too_many_is_taken_away(background: Background, postgres: Postgres) -> None:
    name = f"rights_{secrets.token_hex(4)}"
    Sql(background, postgres.url())(f"CREATE DATABASE {name}")
    migrate("patient", postgres.url(name))
    sql = Sql(background, postgres.url(name))
    sql(f'CREATE ROLE "{name}-role"')
    sql(f'GRANT ALL ON access_events TO "{name}-role"')
    for _ in range(2):
        background.run(grant_privileges(postgres.url(name), f"{name}-role"))
    rights = {row["relname"]: row["rights"] for row in sql(RIGHTS.format(OF_ROLE), f"{name}-role")}
    assert rights["access_events"] == ["INSERT", "SELECT"]
