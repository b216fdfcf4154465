"""PulseTrack as a system under measurement."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.system import Queries, System
from deploy.settings import HOST
from deploy.topology import TOPOLOGY, database_name
from tools.instance import Instance, run_instance
from tools.local.postgres import SUPERUSER

ADMIN = "admin@pulsetrack.local"
SERVICES = tuple(TOPOLOGY)

_PARTS = ("gateway", *SERVICES, "postgres", "broker")
_QUERIES = Queries(
    undelivered="SELECT count(*) FROM outbox WHERE delivered_time IS NULL",
    changes="SELECT count(*) FROM revisions",
    analyzed="SELECT count(*) FROM events",
    latencies=(
        "SELECT extract(epoch FROM receive_time - occur_time) * 1000 FROM events WHERE occur_time >= to_timestamp($1)"
    ),
)


@contextmanager
def start_instance(folder: Path) -> Iterator[tuple[Instance, float]]:
    """Starts an instance without rate limits, and yields it with the seconds until it was ready."""
    start = time.monotonic()
    with run_instance(folder, PULSETRACK_RATE_LIMITS="off") as instance:
        yield instance, time.monotonic() - start


def describe(instance: Instance) -> System:
    """Returns an instance as a system."""
    state = instance.state()
    password = (instance.folder / "secrets" / "postgres-password").read_text(encoding="utf-8")
    server = f"postgresql://{SUPERUSER}:{password}@{HOST}:{state.ports['postgres']}"
    return System(
        name="PulseTrack",
        pids={name: state.processes[name].pid for name in _PARTS},
        patients_url=f"{server}/{database_name('patient')}",
        analytics_url=f"{server}/{database_name('analytics')}",
        queries=_QUERIES,
    )
