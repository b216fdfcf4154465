"""Creates .venv and installs a lock into it: `python3 tools/environment.py requirements.lock [--keep]`.

Runs on the machine's own Python, before any package is installed. pip installs one hashed wheel, uv; uv installs the
lock. Neither resolves anything: a lock lists every package, and every file is checked against its hash.
"""

import argparse
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
INSTALLER = VENV / "installer"  # outside of site-packages, which uv empties of what a lock does not name
UV = INSTALLER / "bin" / "uv"

_OLDEST, _TOO_NEW = (3, 11), (3, 15)
_LOCKED = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]


def main() -> None:
    """Installs the lock. Exits with one sentence if this machine cannot run PulseTrack or a step fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lock", help="path of the lock, from the root of the repository")
    parser.add_argument("--keep", action="store_true", help="keep installed packages that the lock does not name")
    arguments = parser.parse_args()
    if not _OLDEST <= sys.version_info[:2] < _TOO_NEW:
        sys.exit(f"PulseTrack needs Python 3.11 to 3.14, not {platform.python_version()} ({sys.executable}).")
    if missing := missing_here():
        sys.exit(f"{missing}: it runs on Linux with glibc 2.31 or newer, and on macOS 15 or newer on Apple silicon.")
    if not _is_usable():
        _create()
    print(f"Installing {arguments.lock} into .venv", flush=True)
    uv = [str(UV), "pip", "install", *_LOCKED, *([] if arguments.keep else ["--exact"])]
    _run([*uv, "--python", str(PYTHON), "-r", str(ROOT / arguments.lock)], f"{arguments.lock} could not be installed.")


def missing_here() -> str:
    """Returns why Envoy, which has wheels for the fewest platforms, cannot run here; an empty text if it can."""
    system, machine = platform.system(), platform.machine()
    if system == "Linux" and machine in {"x86_64", "aarch64"}:
        name, version = platform.libc_ver()
        if name != "glibc":
            return "There is no Envoy for a Linux without glibc"
        return "" if _numbers(version) >= (2, 31) else "There is no Envoy for a glibc older than 2.31"
    if system == "Darwin" and machine == "arm64":
        return "" if _numbers(platform.mac_ver()[0]) >= (15,) else "There is no Envoy for a macOS older than 15"
    return f"There is no Envoy for {system} on {machine}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _is_usable() -> bool:
    """Returns whether .venv is complete and of this Python's version."""
    try:
        answer = subprocess.run(
            [str(PYTHON), "-c", "import sys; print(*sys.version_info[:2])"], check=True, capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    return UV.exists() and answer.split() == [str(number) for number in sys.version_info[:2]]


def _create() -> None:
    """Creates .venv with uv, from this Python's pip; or from the one in ensurepip, which takes seconds to unpack."""
    print(f"Creating .venv with Python {platform.python_version()}", flush=True)
    has_pip = find_spec("pip") is not None
    venv = [sys.executable, "-m", "venv", "--clear", *(["--without-pip"] if has_pip else []), str(VENV)]
    _run(venv, f"{sys.executable} cannot create a virtual environment: on Debian and Ubuntu install python3-venv.")
    pip = [sys.executable if has_pip else str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install"]
    uv = ["--root-user-action", "ignore", "--target", str(INSTALLER), "-r", str(ROOT / "tools" / "requirements.lock")]
    _run([*pip, *_LOCKED, *uv], "tools/requirements.lock, which names uv, could not be installed.")


def _run(command: list[str], otherwise: str) -> None:
    if subprocess.run(command, check=False).returncode:
        sys.exit(otherwise)


if __name__ == "__main__":
    main()
