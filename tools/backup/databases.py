"""Dumps of databases by pg_dump, and their restoration by pg_restore, wherever these programs run."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import msgspec
from pyrage.x25519 import Recipient

from deploy.errors import StartError
from services.patient.erasure_list import EXPORT, ErasureList
from tools.backup.folder import Backup, Dump, write_file

UNLIMITED = "-c statement_timeout=0 -c transaction_timeout=0 -c idle_in_transaction_session_timeout=0"
"""PGOPTIONS for long transactions. The databases and the roles that own the tables have limits."""

_LIST_TABLES = "SELECT json_agg(tablename ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'"
_TAKE_SNAPSHOT = """
    SELECT json_build_object('name', pg_export_snapshot(), 'time', clock_timestamp(), 'postgres',
        current_setting('server_version'), 'schema', (SELECT version_num FROM alembic_version))
"""
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Snapshot(msgspec.Struct):
    """The state of a database at one moment, while a transaction holds it."""

    name: str
    time: datetime
    postgres: str
    schema: str
    rows: dict[str, int] = {}
    erasures: ErasureList | None = None
    """Only in the database of the patient service."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """Runs Postgres' programs on one database."""

    commands: Mapping[str, Sequence[str]]
    """The command of each program, including the options that name the database."""
    environment: Mapping[str, str] = field(default_factory=dict)
    role: str = ""
    """The role that owns restored tables, if it is not the one that connects."""

    @contextmanager
    def run(self, program: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Runs a program. Kills it if the block raises. Raises StartError if the program fails."""
        pipe, command = subprocess.PIPE, [*self.commands[program], *options]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command, env=os.environ | self.environment, stdin=pipe, stdout=pipe, stderr=errors
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
            raise StartError(f"{program} failed: {lines[0] if lines else f'exit code {code}'}.")


PROGRAMS = ("psql", "pg_dump", "pg_restore")
"""The programs that a client runs."""


def create_client(url: str, programs: Path | None = None) -> Client:
    """Returns a client that connects to a URL, with the programs of a folder or of PATH.

    The command line, which other users can read, has no password. If the URL has none, PGPASSWORD has it.
    """
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    address = parts._replace(netloc=f"{user.partition(':')[0]}@{place}").geturl()
    password = {"PGPASSWORD": unquote(parts.password)} if parts.password else {}
    return Client(
        commands={name: (str(programs / name if programs else name), f"--dbname={address}") for name in PROGRAMS},
        environment={"PGOPTIONS": UNLIMITED, **password},
    )


@contextmanager
def hold_snapshot(client: Client) -> Iterator[Snapshot]:
    """Yields a snapshot of a database, which dumps can use. Raises StartError."""
    with _open_session(client) as session:
        snapshot: Snapshot = session.read(_TAKE_SNAPSHOT, Snapshot)
        snapshot.rows = _count_rows(session)
        if "erasures" in snapshot.rows:
            snapshot.erasures = session.read(EXPORT, ErasureList)
        yield snapshot


def count_rows(client: Client) -> dict[str, int]:
    """Returns the number of rows of each table. Raises StartError."""
    with _open_session(client) as session:
        return _count_rows(session)


def dump(client: Client, snapshot: Snapshot, path: Path, recipient: Recipient | None) -> None:
    """Writes the dump of a database to a file, encrypted if there is a recipient. Raises StartError."""
    options = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot.name}")
    with client.run("pg_dump", *options) as process:
        write_file(path, _pipe(process.stdout), recipient)


def load_database(client: Client, backup: Backup, dump: Dump) -> None:
    """Restores a dump into an empty database, all or nothing, and compares its rows with the manifest.

    Raises StartError.
    """
    options = ["--no-owner", "--no-privileges", "--no-comments", "--exit-on-error", "--single-transaction"]
    if client.role:
        options.append(f"--role={client.role}")
    with client.run("pg_restore", *options) as process, suppress(BrokenPipeError):
        backup.read(dump, _pipe(process.stdin))
    rows = count_rows(client)
    if different := [table for table, count in dump.rows.items() if rows.get(table) != count]:
        raise StartError(f"Tables of {dump.service} do not have the rows in the manifest: {', '.join(different)}.")


class _Session:
    """A transaction of psql."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def read(self, query: str, kind: Any) -> Any:
        """Returns the result of a query, which is one value of JSON. Raises StartError."""
        with suppress(BrokenPipeError):
            self.write(query)
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise StartError("The database cannot be read. Its server may not be running.")
        return msgspec.json.decode(line, type=kind)

    def write(self, statement: str) -> None:
        stdin = _pipe(self._process.stdin)
        stdin.write(f"{statement};\n".encode())
        stdin.flush()


@contextmanager
def _open_session(client: Client) -> Iterator[_Session]:
    options = ("--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1")
    with client.run("psql", *options) as process:
        session = _Session(process)
        session.write(_BEGIN)
        yield session


def _count_rows(session: _Session) -> dict[str, int]:
    tables = session.read(_LIST_TABLES, list[str] | None) or []
    return {table: session.read(f'SELECT count(*) FROM "{table}"', int) for table in tables}  # noqa: S608


def _pipe(pipe: IO[bytes] | None) -> BufferedIOBase:
    if not isinstance(pipe, BufferedIOBase):
        raise TypeError("the process has no such pipe")
    return pipe
