"""The embedded Postgres, and the services' databases in it."""

import asyncio
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.databases import Passwords, create_databases, owner_url, service_url
from deploy.errors import StartError
from tests.tools.fakes import ends
from tools.local import postgres as programs
from tools.local.part import RunningPart
from tools.local.postgres import Postgres
from tools.local.process import ROOT
from tools.ports import free_port

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")

PASSWORD = "s3cret/with:marks@in"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder below one that only its owner can enter, as in root's home."""
    private = tmp_path_factory.mktemp("private", numbered=True)
    private.chmod(0o700)
    return private / "postgres"


@pytest.fixture(scope="module")
def server(folder: Path) -> Postgres:
    return Postgres(folder, free_port(), PASSWORD)


def while_it_runs(server: Postgres, story: Callable[[RunningPart], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with RunningPart(server.part(), server.folder.parent / "logs") as running:
            await story(running)

    asyncio.run(whole())


async def ask(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def test_what_is_written_outlives_a_kill_and_a_stop(server: Postgres) -> None:
    async def written_and_killed(running: RunningPart) -> None:
        await ask(server.url(), "CREATE TABLE kept AS SELECT 1 AS number")
        first = running.pid
        await running.kill()
        await running.restart()
        assert running.pid != first
        assert await ask(server.url(), "SELECT number FROM kept") == 1

    async def there(_: RunningPart) -> None:
        assert await ask(server.url(), "SELECT number FROM kept") == 1

    while_it_runs(server, written_and_killed)
    while_it_runs(server, there)


def test_it_lets_nobody_in_without_the_password(server: Postgres) -> None:
    async def story(_: RunningPart) -> None:
        for wrong in ("", ":wrong"):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await ask(f"postgresql://postgres{wrong}@127.0.0.1:{server.port}/postgres", "SELECT 1")
        methods = "SELECT string_agg(DISTINCT auth_method, ' ') FROM pg_hba_file_rules"
        assert await ask(server.url(), methods) == "scram-sha-256"

    while_it_runs(server, story)


def test_it_does_not_run_as_root_and_shows_no_password(server: Postgres) -> None:
    async def story(running: RunningPart) -> None:
        process = psutil.Process(running.pid)
        assert process.uids().real != 0
        assert process.uids().real == server.folder.stat().st_uid
        assert PASSWORD not in str([process.cmdline(), process.environ()])

    while_it_runs(server, story)


@as_root
def test_root_runs_it_as_an_account_of_its_own(server: Postgres) -> None:
    async def story(running: RunningPart) -> None:
        assert psutil.Process(running.pid).username() == programs.ACCOUNT

    while_it_runs(server, story)
    assert not server.shares_account


@as_root
def test_the_data_of_nobody_is_taken_over(server: Postgres) -> None:
    async def write(_: RunningPart) -> None:
        await ask(server.url(), "CREATE TABLE of_nobody AS SELECT 1 AS number")

    async def read(_: RunningPart) -> None:
        assert await ask(server.url(), "SELECT number FROM of_nobody") == 1

    while_it_runs(server, write)
    for path in (server.folder, *server.folder.rglob("*")):
        os.chown(path, *pwd.getpwnam("nobody")[2:4])
    while_it_runs(Postgres(server.folder, server.port, PASSWORD), read)
    assert server.folder.owner() == (server.folder / "base").owner() == programs.ACCOUNT


@as_root
def test_without_useradd_it_runs_as_nobody_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "ACCOUNT", "no-such-account")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.is_shared(programs.account(tmp_path))


def test_it_folds_case_in_all_scripts(server: Postgres) -> None:
    async def story(_: RunningPart) -> None:
        assert await ask(server.url(), "SELECT lower('ÄÉЖ')") == "äéж"

    while_it_runs(server, story)


def test_its_log_holds_no_row_and_no_statement(server: Postgres) -> None:
    log = server.folder.parent / "logs" / "postgres.log"

    async def story(_: RunningPart) -> None:
        await ask(server.url(), "CREATE TABLE unlike (email text CONSTRAINT email_key UNIQUE)")
        for parameters in ("'ana@secret.test'), ('ana@secret.test'", "1 / 0), ('ana@secret.test'"):
            with pytest.raises(asyncpg.PostgresError):
                await ask(server.url(), f"INSERT INTO unlike VALUES ({parameters})")

    while_it_runs(server, story)
    assert "email_key" in log.read_text()
    assert "ana@secret.test" not in log.read_text()


def test_each_service_reaches_its_own_database_alone(server: Postgres) -> None:
    passwords = {"auth": Passwords("one", "two"), "billing": Passwords("three", "four")}

    async def story(_: RunningPart) -> None:
        for _again in range(2):
            await create_databases(server.url(), passwords, shared=False)
        auth, billing = (service_url(server.url(), name, passwords[name]) for name in passwords)
        assert (
            await ask(billing, "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = user")
            is False
        )
        for others in ("pulsetrack_billing", "postgres", "template1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await ask(auth.removesuffix("pulsetrack_auth") + others, "SELECT 1")

    while_it_runs(server, story)


def test_a_service_makes_no_tables_and_its_databases_owner_does(server: Postgres) -> None:
    passwords = {"auth": Passwords("one", "two")}

    async def story(_: RunningPart) -> None:
        await create_databases(server.url(), passwords, shared=False)
        await ask(owner_url(server.url(), "auth", passwords["auth"]), "CREATE TABLE mine AS SELECT 1 AS number")
        for statement in ("CREATE TABLE other ()", "CREATE SCHEMA other", "CREATE TEMP TABLE other ()", "TABLE mine"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await ask(service_url(server.url(), "auth", passwords["auth"]), statement)

    while_it_runs(server, story)


def test_a_database_of_a_version_whose_services_were_owners_is_taken_from_its_service(server: Postgres) -> None:
    passwords = Passwords("one", "two")
    service = service_url(server.url(), "analytics", passwords)

    async def story(_: RunningPart) -> None:
        await ask(server.url(), "CREATE ROLE pulsetrack_analytics LOGIN PASSWORD 'one'")
        await ask(server.url(), "CREATE DATABASE pulsetrack_analytics OWNER pulsetrack_analytics")
        await ask(service, "CREATE EXTENSION pg_trgm")
        await ask(service, "CREATE TABLE kept AS SELECT 1 AS number")
        for _again in range(2):
            await create_databases(server.url(), {"analytics": passwords}, shared=False)
        assert await ask(owner_url(server.url(), "analytics", passwords), "ALTER TABLE kept ADD more int") is None
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(service, "SELECT number FROM kept")

    while_it_runs(server, story)


def test_the_transactions_of_every_role_are_bounded(server: Postgres) -> None:
    passwords = Passwords("one", "two")

    async def story(_: RunningPart) -> None:
        await create_databases(server.url(), {"auth": passwords}, shared=False)
        for url, limits in (
            (service_url(server.url(), "auth", passwords), "9s 15s 5s"),
            (owner_url(server.url(), "auth", passwords), "1h 1h 1min"),
            (server.url("pulsetrack_auth"), "0 0 1min"),
        ):
            names = ("statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout")
            assert " ".join([str(await ask(url, f"SHOW {name}")) for name in names]) == limits

    while_it_runs(server, story)


def test_a_new_password_takes_the_place_of_the_old(server: Postgres) -> None:
    async def story(_: RunningPart) -> None:
        for password in ("old", "new"):
            await create_databases(server.url(), {"auth": Passwords(password, password)}, shared=False)
        for url in (service_url, owner_url):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await ask(url(server.url(), "auth", Passwords("old", "old")), "SELECT 1")
            assert await ask(url(server.url(), "auth", Passwords("new", "new")), "SELECT 1") == 1

    while_it_runs(server, story)


def test_databases_of_another_version_are_refused(server: Postgres) -> None:
    version = server.folder / "PG_VERSION"
    ours = version.read_text()
    version.write_text("12\n")
    try:
        with pytest.raises(StartError, match="are of Postgres 12 and this is Postgres 18: dump them"):
            while_it_runs(server, _nothing)
    finally:
        version.write_text(ours)


def test_an_initdb_that_was_killed_is_done_again(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18")
    while_it_runs(Postgres(tmp_path / "postgres", free_port(), PASSWORD), _nothing)
    assert not unfinished.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has ended")
def test_it_ends_with_a_supervisor_that_is_killed(server: Postgres, tmp_path: Path) -> None:
    code = f"""
import asyncio
from pathlib import Path
from tools.local.part import RunningPart
from tools.local.postgres import Postgres

async def main():
    server = Postgres(Path({str(server.folder)!r}), {server.port}, {PASSWORD!r})
    async with RunningPart(server.part(), Path({str(tmp_path)!r})) as it:
        print(it.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        postgres = psutil.Process(int(supervisor.stdout.readline()))
        os.kill(supervisor.pid, signal.SIGKILL)
    assert ends(postgres)


async def _nothing(_: RunningPart) -> None:
    """The story in which nothing happens."""
