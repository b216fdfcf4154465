"""A copy of PulseTrack of one's own, for tests and benchmarks: started in a process of its own, stopped at the end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.settings import HOST
from tools.local.data_folder import State
from tools.local.process import ROOT
from tools.ports import free_port

_START_SECONDS = 120
_STOP_SECONDS = 15


@dataclass
class Instance:
    """A copy that runs."""

    folder: Path
    """Its data folder."""
    port: int
    """Its gateway's port."""
    supervisor: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where its gateway listens."""
        return f"http://{HOST}:{self.port}"

    @property
    def admin_password(self) -> str:
        """The first admin's password."""
        return (self.folder / "secrets" / "admin-password").read_text(encoding="utf-8")

    def state(self) -> State:
        """Returns its ports and processes as they are now."""
        return State.read(self.folder) or State()

    def stop(self) -> int:
        """Stops it as Ctrl-C would, and returns its exit code."""
        self.supervisor.send_signal(signal.SIGINT)
        return self.supervisor.wait(_STOP_SECONDS)

    def until_ready(self) -> None:
        """Waits until all services serve. Raises RuntimeError with what it printed if it ends instead."""
        limit = time.monotonic() + _START_SECONDS
        while not _ready(self.url):
            if self.supervisor.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"PulseTrack did not start:\n{self._output().read_text(encoding='utf-8')}")
            time.sleep(0.1)

    def _output(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.out")


@contextmanager
def run_instance(
    folder: Path, checkout: Path = ROOT, /, *, module: str = "tools.local", **environment: str
) -> Iterator[Instance]:
    """Starts a copy on a free port and stops it at the end. What it prints goes into a file beside its data folder."""
    port = free_port()
    environment = {"PULSETRACK_DATA_DIR": str(folder), "PULSETRACK_GATEWAY_PORT": str(port), **environment}
    with folder.with_name(f"{folder.name}.out").open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=checkout,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
        )
    copy = Instance(folder, port, supervisor)
    try:
        copy.until_ready()
        yield copy
    finally:
        if supervisor.poll() is None:
            copy.stop()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
