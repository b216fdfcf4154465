"""A PulseTrack instance for tests and benchmarks, in its own process, which is stopped at the end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from deploy.settings import HOST
from tools.local.data_folder import State
from tools.local.process import ROOT
from tools.ports import reserve_free_port

_START_SECONDS = 120
_STOP_SECONDS = 15


@dataclass
class Instance:
    """A running instance."""

    folder: Path
    """The data folder."""
    port: int
    """The port of the gateway."""
    supervisor: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """The URL of the gateway."""
        return f"http://{HOST}:{self.port}"

    @property
    def admin_password(self) -> str:
        """The password of the first admin."""
        return (self.folder / "secrets" / "admin-password").read_text(encoding="utf-8")

    def state(self) -> State:
        """Returns the current ports and processes."""
        return State.read(self.folder) or State()

    def stop(self) -> int:
        """Stops the instance as Ctrl-C does, and returns its exit code."""
        self.supervisor.send_signal(signal.SIGINT)
        return self.supervisor.wait(_STOP_SECONDS)

    def wait_until_ready(self) -> None:
        """Waits until all services serve, through the gateway as well. Also waits for a process that was just killed.

        Raises RuntimeError with the output if the instance does not start.
        """
        limit = time.monotonic() + _START_SECONDS
        while not _is_ready(self.url):
            if self.supervisor.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"PulseTrack did not start:\n{self._output().read_text(encoding='utf-8')}")
            time.sleep(0.1)

    def _output(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.out")


@contextmanager
def run_instance(
    folder: Path, checkout: Path = ROOT, /, *, module: str = "tools.local", **environment: str
) -> Iterator[Instance]:
    """Starts an instance, and stops it at the end. Its output goes to a file next to the data folder.

    The gateway listens on a free port. The port is reserved, because the gateway starts seconds after the choice.
    """
    with reserve_free_port() as reservation, folder.with_name(f"{folder.name}.out").open("ab") as output:
        port = reservation.port
        environment = {"PULSETRACK_DATA_DIR": str(folder), "PULSETRACK_GATEWAY_PORT": str(port), **environment}
        supervisor = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=checkout,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
        )
        instance = Instance(folder, port, supervisor)
        try:
            instance.wait_until_ready()
            yield instance
        finally:
            if supervisor.poll() is None:
                instance.stop()


def _is_ready(url: str) -> bool:
    # The gateway notices a failed service after up to 2 s. It asks all services for a health check without a name.
    try:
        with grpc.insecure_channel(url.removeprefix("http://")) as channel:
            health = HealthStub(channel).Check(HealthCheckRequest(), timeout=2)
        return (
            health.status == HealthCheckResponse.SERVING
            and httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK
        )
    except (grpc.RpcError, httpx.TransportError):
        return False
