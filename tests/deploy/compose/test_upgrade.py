"""`make compose` while the system runs, and the connections that an upgrade needs."""

import pytest

from deploy.topology import TOPOLOGY
from tests.deploy.compose.stack import SERVERS, Stack
from tests.e2e.sessions import Session
from tests.e2e.steady_load import Load

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


def test_upgrade_whose_services_do_not_start_preserves_the_running_ones(system: Stack, user: Session) -> None:
    before = list_ids(system)
    with Load(user, per_second=5) as load, pytest.raises(AssertionError, match="The new containers of auth did not"):
        system.run_program("up", PULSETRACK_SLOW_CALL_MS="none")
    assert list_ids(system) == before
    assert load.failed == []


def test_postgres_has_processes_for_all_of_its_connections(system: Stack) -> None:
    done = system.execute("auth", "python", "-c", OPEN_CONNECTIONS, "250")
    assert (done.stdout.strip(), done.stderr) == ("250", "")
