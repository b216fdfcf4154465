"""Tests that a service process starts, reports invalid settings and shuts down gracefully."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from deploy.settings import HOST
from gen.pulsetrack.billing.v1 import GetBillingAccountRequest
from services.common.errors import DependencyUnavailable
from services.common.protobuf.contract import SERVICES
from services.common.rpc.server import run
from tests.harness.background import Background
from tests.harness.client import Rejected, connect
from tests.harness.services import serve_auth
from tests.harness.waiting import eventually
from tools.ports import free_port

IDS = (("x-request-id", "req-4711"), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-00"))
ROOT = Path(__file__).resolve().parents[2]
VALID_SETTINGS = {
    "auth": "127.0.0.1:1",
    "billing": "127.0.0.1:1",
    "patient": "127.0.0.1:1",
    "kafka": "127.0.0.1:1",
    "service_secret": "a secret of the service",
    "admin_email": "admin@clinic.test",
    "admin_password": "a secret of the admin",
    "key_passphrase": "a secret of the keys",
    "service_secrets": "{}",
    "listen": "127.0.0.1:0",
}


@pytest.fixture(scope="module")
def auth(background: Background, new_database: Callable[[str], str]) -> Iterator[str]:
    """The address of an auth service. Other services are ready once they have its keys."""
    with background.during(serve_auth(new_database("auth"))) as port:
        yield f"{HOST}:{port}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_service_shuts_down_gracefully_on_a_signal(
    tmp_path: Path, database_url: str, auth: str, number: signal.Signals
) -> None:
    settings = {"database_url": database_url, "listen": f"{HOST}:{free_port()}", "auth": auth, "patient": auth}
    with run_service(tmp_path, "billing", **settings) as (process, _):
        process.send_signal(number)
        assert process.wait(30) == 0


def test_service_without_keys_is_not_ready(tmp_path: Path, database_url: str) -> None:
    address = f"{HOST}:{free_port()}"
    settings = VALID_SETTINGS | {"database_url": database_url, "listen": address}
    with (
        (tmp_path / "log").open("w") as output,
        subprocess.Popen(**build_arguments("billing", settings), stderr=output) as process,
    ):
        try:
            assert eventually(lambda: get_health(address)) == HealthCheckResponse.NOT_SERVING
        finally:
            process.kill()


def test_log_lines_are_json_with_request_id_and_trace_id(tmp_path: Path, database_url: str, auth: str) -> None:
    port = free_port()
    settings = {"database_url": database_url, "listen": f"{HOST}:{port}", "auth": auth, "patient": auth}
    with run_service(tmp_path, "billing", **settings) as (process, log):
        with connect(port, "billing") as client, pytest.raises(Rejected):
            client.get_billing_account(GetBillingAccountRequest(), metadata=IDS)
        process.terminate()
        assert process.wait(30) == 0
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    [record] = [line for line in lines if line.get("request_id") == "req-4711"]
    assert (record["service"], record["level"], record["code"]) == ("billing", "INFO", "UNAUTHENTICATED")
    assert (record["reason"], record["trace_id"]) == ("TOKEN_MISSING", "a" * 32)
    assert [line["message"] for line in lines][-1] == "draining"


@pytest.mark.parametrize("service", SERVICES)
def test_missing_setting_ends_a_service_with_a_one_line_error(service: str) -> None:
    error = run_until_exit(service, {})
    assert "`database_url`" in error


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("log_level", "LOUD"),
        ("drain_seconds", "soon"),
        ("database_connections", "1"),
        ("listen", "nonsense"),
        ("database_url", "nonsense"),
        ("database_url", "postgresql://postgres:a-secret@{server}/nowhere"),
        ("database_url", "postgresql://postgres:a-secret@[/nowhere"),
    ],
)
def test_invalid_setting_ends_a_service_with_a_one_line_error(database_url: str, setting: str, value: str) -> None:
    server = database_url.rpartition("@")[2].partition("/")[0]
    settings = VALID_SETTINGS | {"database_url": database_url} | {setting: value.format(server=server)}
    error = run_until_exit("billing", settings)
    assert setting in error.lower()
    assert "a-secret" not in error


@pytest.mark.parametrize("service", ["billing", "analytics"])
def test_port_in_use_ends_a_service_with_a_one_line_error(database_url: str, service: str) -> None:
    with socket.create_server((HOST, 0)) as other:
        listen = "{}:{}".format(*other.getsockname())
        error = run_until_exit(service, VALID_SETTINGS | {"database_url": database_url, "listen": listen})
    assert listen in error


@contextmanager
def run_service(folder: Path, service: str, **settings: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Starts a service process, waits until it is ready, and yields the process and its log file."""
    log = folder / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(**build_arguments(service, VALID_SETTINGS | settings), stderr=output) as process,
    ):
        try:
            eventually(lambda: get_health(settings["listen"]) == HealthCheckResponse.SERVING)
            yield process, log
        finally:
            process.kill()


def run_until_exit(service: str, settings: dict[str, str]) -> str:
    """Runs a service that cannot start and returns the last line of its standard error."""
    result = subprocess.run(**build_arguments(service, settings), stderr=subprocess.PIPE, timeout=60, check=False)
    assert result.returncode > 0
    assert "Traceback" not in result.stderr
    last_line: str = result.stderr.splitlines()[-1]  # gRPC may have logged before it
    return last_line


def build_arguments(service: str, settings: dict[str, str]) -> dict[str, Any]:
    """Returns the arguments of Popen for a service with only these settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PULSETRACK_")}
    variables = {f"PULSETRACK_{name.upper()}": value for name, value in settings.items()}
    return {
        "args": [sys.executable, "-m", f"services.{service}"],
        "cwd": ROOT,
        "env": environment | variables,
        "text": True,
    }


def get_health(address: str) -> int | None:
    """Returns the health status of a server, or None if it does not respond."""
    with grpc.insecure_channel(address) as channel:
        try:
            response = HealthStub(channel).Check(HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return None
    return int(response.status)


def test_database_error_ends_a_command_with_a_one_line_error(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        raise DependencyUnavailable from asyncpg.DiskFullError("could not extend file: No space left on device")

    with pytest.raises(SystemExit) as exit_info:
        run(main)
    assert exit_info.value.code == "A dependency is unavailable: could not extend file: No space left on device"
    assert capsys.readouterr().err == ""
