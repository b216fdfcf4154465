"""A service as a process: how it starts, and how it ends."""

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
GOOD = {
    "auth": "127.0.0.1:1",
    "billing": "127.0.0.1:1",
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
    """The address of an auth service: another service is ready when it has the keys of auth."""
    with background.during(serve_auth(new_database("auth"))) as port:
        yield f"{HOST}:{port}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_ends_in_good_order_when_it_is_told_to(
    tmp_path: Path, database_url: str, auth: str, number: signal.Signals
) -> None:
    settings = {"database_url": database_url, "listen": f"{HOST}:{free_port()}", "auth": auth}
    with running(tmp_path, "billing", **settings) as (process, _):
        process.send_signal(number)
        assert process.wait(30) == 0


def test_a_service_without_keys_is_not_ready(tmp_path: Path, database_url: str) -> None:
    address = f"{HOST}:{free_port()}"
    settings = GOOD | {"database_url": database_url, "listen": address}
    with (tmp_path / "log").open("w") as output, subprocess.Popen(**how("billing", settings), stderr=output) as process:
        try:
            assert eventually(lambda: health_of(address)) == HealthCheckResponse.NOT_SERVING
        finally:
            process.kill()


def test_every_log_line_is_json_with_the_ids_of_request_and_trace(tmp_path: Path, database_url: str, auth: str) -> None:
    port = free_port()
    settings = {"database_url": database_url, "listen": f"{HOST}:{port}", "auth": auth}
    with running(tmp_path, "billing", **settings) as (process, log):
        with connect(port, "billing") as client, pytest.raises(Rejected):
            client.get_billing_account(GetBillingAccountRequest(), metadata=IDS)
        process.terminate()
        assert process.wait(30) == 0
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    [refusal] = [line for line in lines if line.get("request_id") == "req-4711"]
    assert (refusal["service"], refusal["level"], refusal["code"]) == ("billing", "INFO", "UNAUTHENTICATED")
    assert (refusal["reason"], refusal["trace_id"]) == ("TOKEN_MISSING", "a" * 32)
    assert [line["message"] for line in lines][-1] == "draining"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_without_its_settings_says_which_is_missing(service: str) -> None:
    sentence = refused_to_start(service, {})
    assert "`database_url`" in sentence


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
def test_a_service_with_a_wrong_setting_names_it(database_url: str, setting: str, value: str) -> None:
    server = database_url.rpartition("@")[2].partition("/")[0]
    settings = GOOD | {"database_url": database_url} | {setting: value.format(server=server)}
    sentence = refused_to_start("billing", settings)
    assert setting in sentence.lower()
    assert "a-secret" not in sentence


@pytest.mark.parametrize("service", ["billing", "analytics"])
def test_a_service_whose_port_is_taken_says_so(database_url: str, service: str) -> None:
    with socket.create_server((HOST, 0)) as other:
        listen = "{}:{}".format(*other.getsockname())
        sentence = refused_to_start(service, GOOD | {"database_url": database_url, "listen": listen})
    assert listen in sentence


@contextmanager
def running(folder: Path, service: str, **settings: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Runs a service as a process until it serves, and yields it and its log."""
    log = folder / "log"
    with log.open("w") as output, subprocess.Popen(**how(service, GOOD | settings), stderr=output) as process:
        try:
            eventually(lambda: health_of(settings["listen"]) == HealthCheckResponse.SERVING)
            yield process, log
        finally:
            process.kill()


def refused_to_start(service: str, settings: dict[str, str]) -> str:
    """Starts a service that cannot start, and returns the one sentence that it ends with."""
    ended = subprocess.run(**how(service, settings), stderr=subprocess.PIPE, timeout=60, check=False)
    assert ended.returncode > 0
    assert "Traceback" not in ended.stderr
    sentence: str = ended.stderr.splitlines()[-1]  # gRPC may have said its own before
    return sentence


def how(service: str, settings: dict[str, str]) -> dict[str, Any]:
    """Returns how a service is started with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PULSETRACK_")}
    told = {f"PULSETRACK_{name.upper()}": value for name, value in settings.items()}
    return {"args": [sys.executable, "-m", f"services.{service}"], "cwd": ROOT, "env": kept | told, "text": True}


def health_of(address: str) -> int | None:
    """Returns the status of a server, None if it does not answer."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return None
    return int(answer.status)


def test_a_command_whose_database_fails_ends_with_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        raise DependencyUnavailable from asyncpg.DiskFullError("could not extend file: No space left on device")

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == "A dependency is not available: could not extend file: No space left on device"
    assert capsys.readouterr().err == ""
