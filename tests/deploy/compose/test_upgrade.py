"""`make compose` while the system runs, and the connections that an upgrade needs."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from deploy.settings import HOST
from deploy.topology import TOPOLOGY
from tests.deploy.compose.stack import SERVERS, Stack
from tests.e2e.sessions import Session, a_patient
from tests.e2e.steady_load import Load
from tests.harness.waiting import eventually

OPEN_CONNECTIONS = """
import asyncio, pathlib, sys
import asyncpg

async def main(count):
    url = pathlib.Path("/run/secrets/auth-database-url").read_text()
    connections = [await asyncpg.connect(url) for _ in range(count)]
    print(sum([await connection.fetchval("SELECT 1") for connection in connections]))

asyncio.run(main(int(sys.argv[1])))
"""


def list_ids(system: Stack) -> dict[str, set[str]]:
    """Returns the ids of the running containers of each server."""
    return {server: {one["Id"] for one in system.containers(server).values()} for server in SERVERS}


def test_upgrade_replaces_every_service_and_fails_no_write(system: Stack, user: Session) -> None:
    before = list_ids(system)
    with Load(user, per_second=20) as load:
        system.run_program("up", PULSETRACK_SLOW_CALL_MS="999")
    after = list_ids(system)
    assert {server for server in SERVERS if before[server] != after[server]} == set(TOPOLOGY)
    assert {server: len(after[server]) for server in SERVERS} == dict.fromkeys(SERVERS, 1)
    assert load.created
    assert load.failed == []


def test_rotation_of_the_certificates_fails_no_call_except_at_the_closed_gateway(system: Stack, user: Session) -> None:
    before, started = list_ids(system), system.containers("envoy").popitem()[1]["State"]["StartedAt"]
    with Load(user, per_second=20) as load:
        system.run_program("up", PULSETRACK_ROTATE_CERTIFICATES="yes")
    after = list_ids(system)
    assert {server for server in SERVERS if before[server] != after[server]} - {"envoy"} == set(TOPOLOGY)
    assert system.containers("envoy").popitem()[1]["State"]["StartedAt"] > started
    assert load.created
    assert [failure for failure in load.failed if "Error(" not in failure] == []


def test_upgrade_whose_services_do_not_start_preserves_the_running_ones(system: Stack, user: Session) -> None:
    before = list_ids(system)
    with Load(user, per_second=5) as load, pytest.raises(AssertionError, match="The new containers of auth did not"):
        system.run_program("up", PULSETRACK_SLOW_CALL_MS="none")
    assert list_ids(system) == before
    assert load.failed == []


def is_draining(system: Stack) -> bool:
    """Returns whether the gateway closes connections after their responses."""
    try:
        return "close" in httpx.get(f"{system.url}/healthz", timeout=5).headers.get_list("connection")
    except httpx.TransportError:
        return False


def test_replaced_gateway_completes_calls_in_progress(system: Stack, user: Session) -> None:
    body = json.dumps(a_patient()).encode()
    head = (
        f"POST /v1/patients HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {user.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((HOST, system.port)) as call, ThreadPoolExecutor() as threads:
        call.sendall(head.encode() + body[:10])
        replacing = ("up", "--detach", "--no-build", "--no-deps", "--force-recreate", "envoy")
        replacement = threads.submit(system.compose, *replacing)
        eventually(lambda: is_draining(system))
        call.sendall(body[10:])
        assert call.recv(20).startswith(b"HTTP/1.1 200")
        replacement.result()
    system.wait_until_healthy("envoy")


def test_postgres_has_processes_for_all_of_its_connections(system: Stack) -> None:
    done = system.execute("auth", "python", "-c", OPEN_CONNECTIONS, "250")
    assert (done.stdout.strip(), done.stderr) == ("250", "")
