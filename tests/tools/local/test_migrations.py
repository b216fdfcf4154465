"""The migrations that a start runs, on a real server."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.databases import Passwords, create_databases, owner_url, service_url
from deploy.errors import StartError
from deploy.topology import database_name
from services.common.postgres.migrate import is_current
from tests.harness.background import Background
from tests.harness.sql import Sql
from tools.local.migrations import Migrations
from tools.local.postgres import Postgres

PASSWORDS = Passwords("the password of the service", "the password of the owner")


@pytest.fixture(scope="module")
def folder(postgres: Postgres, background: Background, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file of the owner's URL, for a new database of billing."""
    folder = tmp_path_factory.mktemp("migrations")
    name = database_name("billing")
    Sql(background, postgres.url())(f"DROP DATABASE IF EXISTS {name}")  # other tests may run a system on this server
    asyncio.run(create_databases(postgres.url(), {"billing": PASSWORDS}, shared=True))
    (folder / "url").write_text(owner_url(postgres.url(), "billing", PASSWORDS))
    return folder


def migrate(folder: Path) -> bool:
    """Migrates the database. Returns whether a process ran pending migrations."""
    log = folder / "migrations.log"
    log.unlink(missing_ok=True)
    asyncio.run(Migrations({"billing": folder / "url"}, log).run())
    return log.exists()


def test_pending_migrations_run_once_in_a_process(folder: Path) -> None:
    assert [migrate(folder) for _ in range(2)] == [True, False]


def test_program_that_is_loaded_before_the_databases_migrates_them(postgres: Postgres, tmp_path: Path) -> None:
    url = owner_url(postgres.url(), "analytics", PASSWORDS)
    (tmp_path / "url").write_text(url)

    async def run() -> bool:
        migrations = Migrations({"analytics": tmp_path / "url"}, tmp_path / "migrations.log")
        await migrations.load()
        await create_databases(postgres.url(), {"analytics": PASSWORDS}, shared=True)
        await migrations.run()
        return await is_current("analytics", url)

    assert asyncio.run(run())


def test_privileges_are_granted_at_every_start(folder: Path, postgres: Postgres, background: Background) -> None:
    migrate(folder)
    Sql(background, owner_url(postgres.url(), "billing", PASSWORDS))("REVOKE ALL ON accounts FROM pulsetrack_billing")
    migrate(folder)
    service = Sql(background, service_url(postgres.url(), "billing", PASSWORDS))
    assert service("SELECT count(*) FROM accounts")[0]["count"] == 0


def test_tables_of_a_newer_version_are_reported(folder: Path, postgres: Postgres, background: Background) -> None:
    migrate(folder)
    owner = Sql(background, owner_url(postgres.url(), "billing", PASSWORDS))
    [[version]] = owner("SELECT version_num FROM alembic_version")
    owner("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartError, match="the database of billing: this program does not support the version"):
        migrate(folder)
    owner(f"UPDATE alembic_version SET version_num = '{version}'")


@pytest.mark.parametrize("break_url", [lambda _: "nonsense", lambda url: url.replace("the%20password", "another")])
def test_server_that_rejects_the_owner_is_reported(folder: Path, break_url: Callable[[str], str]) -> None:
    file = folder / "broken"
    file.write_text(break_url((folder / "url").read_text()))
    with pytest.raises(StartError, match=r"^The databases cannot be migrated: ") as raised:
        asyncio.run(Migrations({"billing": file}, folder / "broken.log").run())
    assert "password%20of" not in str(raised.value)
