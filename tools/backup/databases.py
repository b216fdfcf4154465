"""Dumps of databases by pg_dump, and their restoration by pg_restore."""

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import unquote, urlsplit

import asyncpg

from deploy.errors import StartError
from tools.backup.folder import Writer

_BLOCK = 256 * 1024
_UNLIMITED = "-c statement_timeout=0 -c transaction_timeout=0 -c idle_in_transaction_session_timeout=0"
"""The role that owns the tables has limits."""

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


class Snapshot(NamedTuple):
    """The state of a database at one moment, while a transaction holds it."""

    name: str
    time: datetime
    schema: str
    rows: dict[str, int]


@asynccontextmanager
async def hold_snapshot(url: str) -> AsyncIterator[Snapshot]:
    """Yields a snapshot of a database, which dumps can use. Raises StartError."""
    connection = await asyncpg.connect(url, server_settings={"statement_timeout": "0", "transaction_timeout": "0"})
    try:
        await connection.execute("SET idle_in_transaction_session_timeout = 0")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            name, time = await connection.fetchrow("SELECT pg_export_snapshot(), clock_timestamp()")
            schema = await connection.fetchval("SELECT version_num FROM alembic_version")
            yield Snapshot(name, time, schema, await _count_rows(connection))
    finally:
        await connection.close()


async def count_rows(url: str) -> dict[str, int]:
    """Returns the number of rows of each table."""
    connection = await asyncpg.connect(url, server_settings={"statement_timeout": "0", "transaction_timeout": "0"})
    try:
        return await _count_rows(connection)
    finally:
        await connection.close()


async def _count_rows(connection: asyncpg.Connection) -> dict[str, int]:
    tables = [table for [table] in await connection.fetch(_TABLES)]
    return {table: await connection.fetchval(f'SELECT count(*) FROM "{table}"') for table in tables}  # noqa: S608


def dump(programs: Path, url: str, snapshot: str, file: Writer) -> None:
    """Writes the dump of a database to a file. Raises StartError."""
    options = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}")
    with _run(programs / "pg_dump", url, *options) as process:
        while data := _pipe(process.stdout).read(_BLOCK):
            file.write(data)


def load(programs: Path, url: str, content: Iterator[bytes]) -> None:
    """Restores a dump into an empty database, all or nothing. Raises StartError."""
    options = ("--no-owner", "--no-privileges", "--no-comments", "--exit-on-error", "--single-transaction")
    with _run(programs / "pg_restore", url, *options) as process, suppress(BrokenPipeError):
        for data in content:
            _pipe(process.stdin).write(data)


def read_postgres_version(programs: Path) -> str:
    """Returns the version of pg_dump."""
    version = subprocess.run([programs / "pg_dump", "--version"], check=True, capture_output=True, text=True)
    return version.stdout.split()[-1]


@contextmanager
def _run(program: Path, url: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program on a database. Kills it if the block raises. Raises StartError if the program fails."""
    address, password = _split_password(url)
    environment = os.environ | {"PGPASSWORD": password, "PGOPTIONS": _UNLIMITED}
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [program, f"--dbname={address}", *options], env=environment, stdin=pipe, stdout=pipe, stderr=errors
        )
        try:
            yield process
            with suppress(BrokenPipeError):
                _pipe(process.stdin).close()
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    if code:
        raise StartError(f"{program.name} failed: {lines[0] if lines else f'exit code {code}'}.")


def _split_password(url: str) -> tuple[str, str]:
    """Returns a URL without its password, which other users could read in the list of processes, and the password."""
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}@{place}").geturl(), unquote(parts.password or "")


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the process has no such pipe")
    return pipe
