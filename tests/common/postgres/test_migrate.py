"""Migrations of the databases, by one or several processes."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from services.common.postgres import migrate as migrations
from services.common.postgres.migrate import migrate
from services.common.protobuf.contract import SERVICES
from tests.harness.background import Background
from tests.harness.schema import find_differences
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tools.local.postgres import Postgres

ROOT = Path(__file__).resolve().parents[3]
COLUMNS = "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
SHAPE = f"{COLUMNS} WHERE table_schema = 'public' ORDER BY 1, 2"
VERSION = "SELECT version_num, xmin::text FROM alembic_version"  # xmin is the transaction that wrote the row

Ended = subprocess.CompletedProcess[str]


@pytest.fixture
def empty(background: Background, postgres: Postgres) -> str:
    """The URL of a database without tables."""
    name = f"empty_{secrets.token_hex(4)}"
    Sql(background, postgres.url())(f"CREATE DATABASE {name}")
    return postgres.url(name)


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_are_numbered_consecutively(service: str) -> None:
    files = (ROOT / "services" / service / "migrations").glob("[0-9]*.py")
    numbers = sorted(file.stem.split("_")[0] for file in files)
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


@pytest.mark.parametrize("service", SERVICES)
def test_migrated_database_has_the_tables_of_the_models(
    background: Background, new_database: Callable[[str], str], service: str
) -> None:
    assert background.run(find_differences(service, new_database(service))) == []


def test_second_migration_changes_nothing(background: Background, empty: str) -> None:
    sql = Sql(background, empty)
    migrate("billing", empty)
    before = sql(SHAPE), sql(VERSION)
    migrate("billing", empty)
    assert before[0]
    assert (sql(SHAPE), sql(VERSION)) == before


def test_alembic_is_imported_only_for_pending_migrations(empty: str) -> None:
    program = "import sys; from services.common.postgres.migrate import main; main(); print('alembic' in sys.modules)"
    assert [run_migration(empty, "-c", program).stdout.strip() for _ in range(2)] == ["True", "False"]


def test_concurrent_migrations_both_succeed(background: Background, empty: str) -> None:
    sql = Sql(background, empty)
    with ThreadPoolExecutor() as threads:
        with sql.hold_locks("CREATE TABLE alembic_version ()"):
            both = [threads.submit(run_migration, empty, "-m", "services.common.postgres.migrate") for _ in range(2)]
            eventually(lambda: sql.count_waiting() == 2)
        assert [each.result().returncode for each in both] == [0, 0]
    newest = max(file.name[:4] for file in (ROOT / "services/billing/migrations").glob("[0-9]*.py"))
    assert [row["version_num"] for row in sql(VERSION)] == [newest]


def test_migration_does_not_block_a_table_that_is_in_use(background: Background, empty: str) -> None:
    """It gives up its place in the queue for the table's lock, and tries again."""
    sql = Sql(background, empty)
    migrate("billing", empty, to="0001")
    with ThreadPoolExecutor() as threads:
        with sql.hold_locks("LOCK TABLE accounts IN ACCESS SHARE MODE"):
            migration = threads.submit(run_migration, empty, "-m", "services.common.postgres.migrate")
            eventually(lambda: sql.count_waiting() == 1)
            eventually(lambda: sql.count_waiting() == 0)
        assert migration.result().returncode == 0


INDEX_MIGRATIONS = {
    "0001": "op.create_table('things', sa.Column('name', sa.Text))",
    "0002": "create_index('things_by_name', 'things', ['name'])",
}
MIGRATION = """
import sqlalchemy as sa
from alembic import op
from services.common.postgres.alembic.concurrently import create_index

revision = "{revision}"
down_revision = {previous}

def upgrade():
    {statement}
"""


def test_index_is_created_outside_of_the_transaction_and_can_be_repeated(
    background: Background, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_SERVICES", tmp_path)
    (folder := tmp_path / "things" / "migrations").mkdir(parents=True)
    previous = None
    for revision, statement in INDEX_MIGRATIONS.items():
        text = MIGRATION.format(revision=revision, previous=repr(previous), statement=statement)
        (folder / f"{revision}_step.py").write_text(text, encoding="utf-8")
        previous = revision
    sql = Sql(background, empty)
    for _ in range(2):
        migrate("things", empty)
        assert sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'things_by_name'::regclass") == [(True,)]
        sql("UPDATE alembic_version SET version_num = '0001'")


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
def test_invalid_url_is_a_one_line_error(database_url: str, url: str) -> None:
    server = database_url.rpartition("@")[2].partition("/")[0]
    ended = run_migration(url.format(server=server), "-m", "services.common.postgres.migrate")
    assert ended.returncode == 1
    [error] = ended.stderr.splitlines()
    assert error.startswith("Cannot migrate the database of billing: ")
    assert "a-secret" not in error


def test_newer_database_version_is_a_one_line_error(new_database: Callable[[str], str], background: Background) -> None:
    url = new_database("billing")
    Sql(background, url)("UPDATE alembic_version SET version_num = '9999'")
    ended = run_migration(url, "-m", "services.common.postgres.migrate")
    assert ended.returncode == 1
    [error] = ended.stderr.splitlines()
    assert "does not support the version of its tables" in error


def test_unknown_service_is_rejected() -> None:
    ended = run_migration("", "-m", "services.common.postgres.migrate", service="nothing")
    assert ended.returncode == 2
    assert "invalid choice: 'nothing'" in ended.stderr


def run_migration(url: str, *program: str, service: str = "billing") -> Ended:
    """Migrates in a process, and returns the ended process."""
    ended: Ended = subprocess.run(**process_arguments(url, *program, service=service), timeout=60, check=False)
    return ended


def process_arguments(url: str, *program: str, service: str = "billing") -> dict[str, Any]:
    """Returns the arguments of subprocess.run for a migration."""
    environment = os.environ | {"PULSETRACK_DATABASE_URL": url}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return {"args": [sys.executable, *program, service], "cwd": ROOT, "env": environment} | pipes
