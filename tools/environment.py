"""Creates .venv and installs a lock into it: `python3 tools/environment.py requirements.lock [--keep]`.

It runs on the system's Python, before any package is installed. pip installs uv, and uv installs the lock. Neither
resolves dependencies: a lock lists every package, and every file is checked against its hash.
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
INSTALLER = VENV / "installer"  # outside of site-packages, from which uv removes packages that a lock does not list
UV = INSTALLER / "bin" / "uv"

_OLDEST, _TOO_NEW = (3, 11), (3, 15)
_LOCKED = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]


def main() -> None:
    """Installs the lock. Exits with a one-line error if this machine cannot run PulseTrack or a step fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lock", help="path of the lock, from the root of the repository")
    parser.add_argument("--keep", action="store_true", help="keep installed packages that the lock does not list")
    arguments = parser.parse_args()
    if not _OLDEST <= sys.version_info[:2] < _TOO_NEW:
        sys.exit(f"PulseTrack needs Python 3.11 to 3.14, not {platform.python_version()} ({sys.executable}).")
    if problem := find_platform_problem():
        sys.exit(f"{problem}. Use Linux with glibc 2.31 or newer, or macOS 15 or newer on Apple silicon.")
    if not _is_usable():
        _create()
    print(f"Installing {arguments.lock} into .venv", flush=True)
    uv = [str(UV), "pip", "install", *_LOCKED, *([] if arguments.keep else ["--exact"])]
    _run([*uv, "--python", str(PYTHON), "-r", str(ROOT / arguments.lock)], f"{arguments.lock} could not be installed.")


def find_platform_problem() -> str:
    """Returns why Envoy, which supports the fewest platforms, cannot run on this machine. Empty if it can."""
    system, machine = platform.system(), platform.machine()
    if system == "Linux" and machine in {"x86_64", "aarch64"}:
        name, version = platform.libc_ver()
        if name != "glibc":
            return "Envoy does not support Linux without glibc"
        return "" if _parse_version(version) >= (2, 31) else "Envoy does not support glibc older than 2.31"
    if system == "Darwin" and machine == "arm64":
        return "" if _parse_version(platform.mac_ver()[0]) >= (15,) else "Envoy does not support macOS older than 15"
    return f"Envoy does not support {system} on {machine}"


def _parse_version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _is_usable() -> bool:
    """Returns whether .venv is complete and has this Python's version."""
    try:
        output = subprocess.run(
            [str(PYTHON), "-c", "import sys; print(*sys.version_info[:2])"], check=True, capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    return UV.exists() and output.split() == [str(number) for number in sys.version_info[:2]]


def _create() -> None:
    """Creates .venv and installs uv with this Python's pip, or with pip from ensurepip, which takes seconds longer."""
    print(f"Creating .venv with Python {platform.python_version()}", flush=True)
    has_pip = find_spec("pip") is not None
    venv = [sys.executable, "-m", "venv", "--clear", *(["--without-pip"] if has_pip else []), str(VENV)]
    _run(venv, f"{sys.executable} cannot create a virtual environment. On Debian and Ubuntu, install python3-venv.")
    pip = [sys.executable if has_pip else str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install"]
    uv = ["--root-user-action", "ignore", "--target", str(INSTALLER), "-r", str(ROOT / "tools" / "requirements.lock")]
    _run([*pip, *_LOCKED, *uv], "tools/requirements.lock, which lists uv, could not be installed.")


def _run(command: list[str], error: str) -> None:
    if subprocess.run(command, check=False).returncode:
        sys.exit(error)


if __name__ == "__main__":
    main()
