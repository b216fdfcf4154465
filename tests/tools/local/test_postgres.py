"""The embedded Postgres."""

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.errors import StartError
from tests.harness.embedded_postgres import query, run_scenario
from tests.tools.local.fakes import wait_until_ended
from tools.local import postgres
from tools.local.part import RunningPart
from tools.local.postgres import Postgres
from tools.local.process import ROOT
from tools.ports import free_port

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")

PASSWORD = "s3cret/with:marks@in"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in a folder that only its owner can enter, such as the home of root."""
    private = tmp_path_factory.mktemp("private", numbered=True)
    private.chmod(0o700)
    return private / "postgres"


@pytest.fixture(scope="module")
def server(folder: Path) -> Postgres:
    return Postgres(folder, free_port(), PASSWORD)


def test_data_survives_a_kill_and_a_stop(server: Postgres) -> None:
    async def write_and_kill(running: RunningPart) -> None:
        await query(server.url(), "CREATE TABLE numbers AS SELECT 1 AS number")
        first = running.pid
        await running.kill()
        await running.restart()
        assert running.pid != first
        assert await query(server.url(), "SELECT number FROM numbers") == 1

    async def read(_: RunningPart) -> None:
        assert await query(server.url(), "SELECT number FROM numbers") == 1

    run_scenario(server, write_and_kill)
    run_scenario(server, read)


def test_new_folder_is_written_to_the_disk_while_the_server_runs(server: Postgres, tmp_path: Path) -> None:
    async def sync(_: RunningPart) -> None:
        await server.sync(tmp_path / "initdb.log")

    run_scenario(server, sync)
    assert "syncing data to disk ... ok" in (tmp_path / "initdb.log").read_text()


def test_server_requires_the_password(server: Postgres) -> None:
    async def scenario(_: RunningPart) -> None:
        for wrong in ("", ":wrong"):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await query(f"postgresql://postgres{wrong}@127.0.0.1:{server.port}/postgres", "SELECT 1")
        methods = "SELECT string_agg(DISTINCT auth_method, ' ') FROM pg_hba_file_rules"
        assert await query(server.url(), methods) == "scram-sha-256"

    run_scenario(server, scenario)


def test_server_does_not_run_as_root_and_its_process_shows_no_password(server: Postgres) -> None:
    async def scenario(running: RunningPart) -> None:
        process = psutil.Process(running.pid)
        assert process.uids().real != 0
        assert process.uids().real == server.folder.stat().st_uid
        assert PASSWORD not in str([process.cmdline(), process.environ()])

    run_scenario(server, scenario)


@as_root
def test_root_runs_the_server_as_a_dedicated_account(server: Postgres) -> None:
    async def scenario(running: RunningPart) -> None:
        assert psutil.Process(running.pid).username() == postgres.ACCOUNT

    run_scenario(server, scenario)
    assert not server.shares_account


@as_root
def test_data_of_nobody_is_transferred_to_the_dedicated_account(server: Postgres) -> None:
    async def write(_: RunningPart) -> None:
        await query(server.url(), "CREATE TABLE of_nobody AS SELECT 1 AS number")

    async def read(_: RunningPart) -> None:
        assert await query(server.url(), "SELECT number FROM of_nobody") == 1

    run_scenario(server, write)
    for path in (server.folder, *server.folder.rglob("*")):
        os.chown(path, *pwd.getpwnam("nobody")[2:4])
    run_scenario(Postgres(server.folder, server.port, PASSWORD), read)
    assert server.folder.owner() == (server.folder / "base").owner() == postgres.ACCOUNT


@as_root
def test_server_runs_as_nobody_without_useradd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "ACCOUNT", "no-such-account")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert postgres.is_shared(postgres.choose_account(tmp_path))


def test_server_folds_case_in_all_scripts(server: Postgres) -> None:
    async def scenario(_: RunningPart) -> None:
        assert await query(server.url(), "SELECT lower('ÄÉЖ')") == "äéж"

    run_scenario(server, scenario)


def test_log_contains_no_row_and_no_statement(server: Postgres) -> None:
    log = server.folder.parent / "logs" / "postgres.log"

    async def scenario(_: RunningPart) -> None:
        await query(server.url(), "CREATE TABLE unlike (email text CONSTRAINT email_key UNIQUE)")
        for parameters in ("'ana@secret.test'), ('ana@secret.test'", "1 / 0), ('ana@secret.test'"):
            with pytest.raises(asyncpg.PostgresError):
                await query(server.url(), f"INSERT INTO unlike VALUES ({parameters})")

    run_scenario(server, scenario)
    assert "email_key" in log.read_text()
    assert "ana@secret.test" not in log.read_text()


def test_databases_of_another_version_are_rejected(server: Postgres) -> None:
    version = server.folder / "PG_VERSION"
    ours = version.read_text()
    version.write_text("12\n")
    try:
        with pytest.raises(StartError, match=r"were created by Postgres 12, but this is Postgres 18\. Dump them"):
            run_scenario(server, do_nothing)
    finally:
        version.write_text(ours)


def test_killed_initdb_is_repeated(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18")
    run_scenario(Postgres(tmp_path / "postgres", free_port(), PASSWORD), do_nothing)
    assert not unfinished.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the end of the parent")
def test_server_ends_with_a_killed_supervisor(server: Postgres, tmp_path: Path) -> None:
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
        process = psutil.Process(int(supervisor.stdout.readline()))
        os.kill(supervisor.pid, signal.SIGKILL)
    assert wait_until_ended(process)


async def do_nothing(_: RunningPart) -> None:
    """A scenario in which nothing happens."""
