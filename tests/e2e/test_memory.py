"""The memory of the services under sustained load, and over many cancelled streams."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from services.common.protobuf.contract import SERVICES
from tests.e2e.sessions import ADMIN_EMAIL, Session
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance

SECONDS = float(os.environ.get("PULSETRACK_SOAK_SECONDS", "180"))
"""The duration of the sustained load."""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900 + 3 * SECONDS)]

_log = logging.getLogger(__name__)

PARTS = ("gateway", *SERVICES)
ROUND_SECONDS = 20
ALLOCATED = "allocated by the gateway"
"""What Envoy has allocated, without the free memory that it has not yet returned to the operating system."""
GROWTH_MIB = {**dict.fromkeys(PARTS, 8), ALLOCATED: 2}
"""The permitted growth after the warm-up.

For resident memory, it is that of allocators and caches. What Envoy has allocated grows by 4.7 KiB for each new token,
up to 1000 of them: less than 1 MiB in an hour of this load. It does not include the memory of Lua. 20 KiB that leak in
100 requests would be 15 MiB.
"""
LAST_ROUNDS = 3
"""The rounds of which the smallest reading counts. A leak remains, but the memory of a burst is returned."""

WATCH = f"/{SERVICES['patient']}/WatchPatients"
WATCHES, ROUND_WATCHES, CONCURRENT = 20_000, 2_000, 8
WATCHES_GROWTH_MIB = 3
"""The permitted growth over all watches: about 150 bytes each."""
_MIB = 1024 * 1024


@pytest.fixture(scope="module")
def instance(new_folder: NewFolder) -> Iterator[Instance]:
    """An instance without limits that the load would exceed."""
    limits = {"PULSETRACK_RATE_LIMITS": "off", "PULSETRACK_STREAMS_PER_USER": "1000"}
    with run_instance(new_folder("memory"), **limits) as instance:
        yield instance


def read_memory(instance: Instance) -> dict[str, float]:
    """Returns the resident memory of the gateway and the services, and what Envoy has allocated, in MiB."""
    state = instance.state()
    allocated = read_allocated(state.ports["gateway-admin"])
    memory = {part: psutil.Process(state.processes[part].pid).memory_info().rss / _MIB for part in PARTS}
    memory[ALLOCATED] = allocated / _MIB
    _log.info("MiB: %s", {part: round(size, 1) for part, size in memory.items()})
    return memory


def read_allocated(port: int) -> int:
    """Returns the bytes that Envoy has allocated, once its statistics, up to 5 s old, show that the load has ended.

    Then only its own connections are left, over which it fetches the keys.
    """
    names = ("server.total_connections", "cluster.keys.upstream_cx_active", "server.memory_allocated")

    def read() -> int:
        text = httpx.get(f"http://127.0.0.1:{port}/stats?filter=^({'|'.join(names)})$").text
        values = {name: int(value) for name, value in (line.split(": ") for line in text.splitlines())}
        total, own, allocated = (values[name] for name in names)
        return total <= own and allocated

    return eventually(read)


def cancel_watches(instance: Instance) -> None:
    """Opens watches, reads the first response of each, and cancels them. Logs in first, because tokens expire."""
    with Session.log_in(instance, ADMIN_EMAIL, instance.admin_password) as session:
        asyncio.run(_cancel_watches(instance.url.removeprefix("http://"), session.token))


async def _cancel_watches(address: str, token: str) -> None:
    metadata = (("authorization", f"Bearer {token}"),)
    async with grpc.aio.insecure_channel(address) as channel:
        watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(WATCH)
        numbers = iter(range(ROUND_WATCHES))

        async def cancel_each() -> None:
            for _ in numbers:
                call = watch(b"", metadata=metadata)
                assert await call.read()
                call.cancel()

        await asyncio.gather(*(cancel_each() for _ in range(CONCURRENT)))


def test_cancelled_watches_leave_no_memory(instance: Instance) -> None:
    cancel_watches(instance)  # warms up
    before = after = read_memory(instance)["patient"]
    for _ in range(WATCHES // ROUND_WATCHES):
        cancel_watches(instance)
        after = read_memory(instance)["patient"]
    assert after - before < WATCHES_GROWTH_MIB


def test_memory_is_flat_under_sustained_load(instance: Instance, tmp_path: Path) -> None:
    end = time.monotonic() + SECONDS
    run_load(instance, tmp_path)
    warm_up_end = time.monotonic() + SECONDS / 3
    while time.monotonic() < warm_up_end:
        run_load(instance, tmp_path)
    before = read_memory(instance)
    rounds: list[dict[str, float]] = []
    while time.monotonic() < end or len(rounds) < LAST_ROUNDS:
        rounds.append(run_load(instance, tmp_path))
    after = {part: min(memory[part] for memory in rounds[-LAST_ROUNDS:]) for part in before}
    grown = {part: after[part] - before[part] for part in before}
    assert {part: size for part, size in grown.items() if size > GROWTH_MIB[part]} == {}


def run_load(instance: Instance, folder: Path) -> dict[str, float]:
    """Makes mixed calls and watches for a round, and returns the memory after it. Fails if one of the calls fails."""
    options = {
        "--url": instance.url,
        "--users": "5",
        "--seconds": str(ROUND_SECONDS / 2),
        "--json": str(folder / "load.json"),
        "--html": str(folder / "load.html"),
    }
    arguments = [text for option in options.items() for text in option]
    command = [sys.executable, "-m", "tools.load", *arguments, "sign-ups", "log-ins", "mixed", "watchers"]
    load = subprocess.run(command, capture_output=True, text=True, check=False)
    assert load.returncode == 0, load.stdout + load.stderr
    return read_memory(instance)
