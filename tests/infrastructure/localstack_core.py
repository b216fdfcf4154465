r"""Runs LocalStack core, LocalStack's open edition, as a process. It needs neither Docker nor a license.

localstack_core.lock pins its packages. The following command writes it. The date excludes later releases of packages
that this version of LocalStack does not work with.

    echo 'localstack-core[runtime]==4.14.0' | .venv/installer/bin/uv pip compile --python-platform linux \
        --python-version 3.13 --exclude-newer 2026-03-01 --generate-hashes --no-header --no-annotate \
        --no-strip-extras - -o tests/infrastructure/localstack_core.lock
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import boto3
import httpx

from tests.harness.waiting import eventually
from tools.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
LOCK = Path(__file__).with_name("localstack_core.lock")
REGION = "us-east-1"

_UV = ROOT / ".venv" / "installer" / "bin" / "uv"
_FOLDER = ROOT / "build" / "localstack-core"
_PYTHON = _FOLDER / "bin" / "python"
_INSTALLED = _FOLDER / "installed"
_SECONDS = 120


class NotAvailableError(Exception):
    """LocalStack core cannot be installed on this machine."""


class LocalStackCore:
    """A running LocalStack core, without state. On exit, it is terminated."""

    def __init__(self) -> None:
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> Self:
        """Raises NotAvailableError."""
        install()
        self._log = Path(self._folder.name, "log").open("wb")
        address = self.endpoint.removeprefix("http://")
        settings = {
            "GATEWAY_LISTEN": address,
            "LOCALSTACK_HOST": address,
            "FILESYSTEM_ROOT": self._folder.name,
            "DISABLE_EVENTS": "1",
            "DNS_ADDRESS": "0",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
        }
        command = [str(_PYTHON), "-m", "localstack.runtime.main"]
        self._process = subprocess.Popen(
            command, env=os.environ | settings, stdout=self._log, stderr=subprocess.STDOUT, cwd=self._folder.name
        )
        eventually(self._is_ready, seconds=_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        self._log.close()
        self._folder.cleanup()

    def session(self) -> Any:
        """Returns a boto3 session for LocalStack."""
        return boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)

    def variables(self) -> dict[str, str]:
        """Returns the environment variables of command lines that use LocalStack."""
        credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}
        return {"AWS_ENDPOINT_URL": self.endpoint, **credentials}

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, Path(self._log.name).read_text(encoding="utf-8")
        try:
            return httpx.get(f"{self.endpoint}/_localstack/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def install() -> None:
    """Installs the lock into build/localstack-core, unless it is installed. Raises NotAvailableError."""
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if _INSTALLED.exists() and _INSTALLED.read_text(encoding="utf-8") == lock:
        return
    if sys.platform != "linux":
        raise NotAvailableError("its lock is for Linux")
    python = _find_python()
    _run(str(_UV), "venv", "--quiet", "--clear", "--python", python, str(_FOLDER))
    # Three of its packages have no wheels, so uv builds them.
    _run(
        str(_UV),
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--python",
        str(_PYTHON),
        "-r",
        str(LOCK),
    )
    _INSTALLED.write_text(lock, encoding="utf-8")


def _find_python() -> str:
    """Returns the path of Python 3.13, which the lock requires."""
    print_path = "import sys; print(sys.executable)"
    try:
        # PYENV_VERSION selects it if python3.13 is a shim of pyenv.
        return _run("python3.13", "-c", print_path, PYENV_VERSION="3.13").strip()
    except FileNotFoundError:
        raise NotAvailableError("python3.13 is not on PATH") from None


def _run(*command: str, **variables: str) -> str:
    process = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | variables)
    if process.returncode:
        raise NotAvailableError(f"`{' '.join(command[:3])}` failed: {process.stderr.strip()}")
    return process.stdout
