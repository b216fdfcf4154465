"""Migrations: a database is brought to the tables that the code has, once, whoever asks and how often."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from services.common.postgres.migrate import migrate
from services.common.protobuf.contract import SERVICES
from tests.harness.background import Background
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tools.local.postgres import Postgres

ROOT = Path(__file__).resolve().parents[3]
COLUMNS = "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
SHAPE = f"{COLUMNS} WHERE table_schema = 'public' ORDER BY 1, 2"
VERSION = "SELECT version_num, xmin::text FROM alembic_version"  # xmin tells the transaction that wrote it

Ended = subprocess.CompletedProcess[str]


@pytest.fixture
def empty(background: Background, postgres: Postgres) -> str:
    """The URL of a database without tables."""
    name = f"empty_{secrets.token_hex(4)}"
    Sql(background, postgres.url())(f"CREATE DATABASE {name}")
    return postgres.url(name)


@pytest.mark.parametrize("service", SERVICES)
def test_a_fresh_database_gets_the_tables_that_the_code_has(
    background: Background, new_database: Callable[[str], str], service: str
) -> None:
    tables = import_module(f"services.{service}.models").metadata

    def differences(connection: Connection) -> Any:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return compare_metadata(context, tables)

    async def compare(url: str) -> Any:
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:", 1), poolclass=NullPool)
        async with engine.connect() as connection:
            return await connection.run_sync(differences)

    assert tables.tables
    assert background.run(compare(new_database(service))) == []


def test_a_migrated_database_is_left_alone(background: Background, empty: str) -> None:
    sql = Sql(background, empty)
    migrate("billing", empty)
    before = sql(SHAPE), sql(VERSION)
    migrate("billing", empty)
    assert before[0]
    assert (sql(SHAPE), sql(VERSION)) == before


def test_to_see_that_nothing_is_to_be_done_takes_no_alembic(empty: str) -> None:
    program = "import sys; from services.common.postgres.migrate import main; main(); print('alembic' in sys.modules)"
    assert [migrated(empty, "-c", program).stdout.strip() for _ in range(2)] == ["True", "False"]


def test_two_who_migrate_at_once_get_it_done_once(background: Background, empty: str) -> None:
    sql = Sql(background, empty)
    with ThreadPoolExecutor() as threads:
        with sql.hold_locks("CREATE TABLE alembic_version ()"):
            both = [threads.submit(migrated, empty, "-m", "services.common.postgres.migrate") for _ in range(2)]
            eventually(lambda: sql.count_waiting() == 2)
        assert [each.result().returncode for each in both] == [0, 0]
    newest = max(file.name[:4] for file in (ROOT / "services/billing/migrations").glob("[0-9]*.py"))
    assert [row["version_num"] for row in sql(VERSION)] == [newest]


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "postgresql://postgres:a-secret@[/nowhere",
        "postgresql://postgres:a-secret@127.0.0.1:1/nowhere",
        "postgresql://postgres:a-secret@{server}/nowhere",
        "postgresql://nobody:a-secret@{server}/nowhere",
    ],
)
def test_a_wrong_url_gives_one_clear_sentence(database_url: str, url: str) -> None:
    server = database_url.rpartition("@")[2].partition("/")[0]
    ended = migrated(url.format(server=server), "-m", "services.common.postgres.migrate")
    assert ended.returncode == 1
    [sentence] = ended.stderr.splitlines()
    assert sentence.startswith("Cannot migrate the database of billing: ")
    assert "a-secret" not in sentence


def test_tables_of_a_newer_version_give_one_clear_sentence(
    new_database: Callable[[str], str], background: Background
) -> None:
    url = new_database("billing")
    Sql(background, url)("UPDATE alembic_version SET version_num = '9999'")
    ended = migrated(url, "-m", "services.common.postgres.migrate")
    assert ended.returncode == 1
    [sentence] = ended.stderr.splitlines()
    assert "does not support the version of its tables" in sentence


def test_an_unknown_service_is_refused() -> None:
    ended = migrated("", "-m", "services.common.postgres.migrate", service="nothing")
    assert ended.returncode == 2
    assert "invalid choice: 'nothing'" in ended.stderr


def migrated(url: str, *program: str, service: str = "billing") -> Ended:
    """Migrates as a process does, and returns how it ended."""
    ended: Ended = subprocess.run(**how(url, *program, service=service), timeout=60, check=False)
    return ended


def how(url: str, *program: str, service: str = "billing") -> dict[str, Any]:
    """Returns how a process is started that migrates."""
    environment = os.environ | {"PULSETRACK_DATABASE_URL": url}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return {"args": [sys.executable, *program, service], "cwd": ROOT, "env": environment} | pipes
