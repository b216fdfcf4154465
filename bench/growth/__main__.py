"""Measures reads with growing tables: `python -m bench.growth`.

Calls the services' own code on a Postgres server, without gRPC. The sizes take turns, so noise affects all alike.
"""

import argparse
import asyncio
import math
import secrets
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from bench.growth.access_events import ACCESS_EVENTS
from bench.growth.accounts import AUTH, BILLING
from bench.growth.analytics import ANALYTICS
from bench.growth.cases import Cases, Read
from bench.growth.patients import PATIENTS
from services.common.postgres.database import Database
from services.common.postgres.migrate import migrate
from tools.local.part import RunningPart
from tools.local.postgres import Postgres
from tools.ports import free_port

CASES = {
    "patients": PATIENTS,
    "access-events": ACCESS_EVENTS,
    "analytics": ANALYTICS,
    "billing": BILLING,
    "auth": AUTH,
}
"""The measured reads, by the name of the largest table or of the service."""

_SIZES = (1_000, 100_000)
_CALLS = 200
_WARM_UP = 10  # calls until Postgres has chosen its plans

_INDEXES = """
    SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index
    WHERE indrelid = $1::text::regclass AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


def main() -> None:
    """Fills databases of each size, measures, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], help="reads to measure (all)")
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES, help="numbers of rows")
    parser.add_argument("--calls", type=int, default=_CALLS, help="number of calls of each read (200)")
    options = parser.parse_args()
    for name in options.cases or CASES:
        table = asyncio.run(_measure_cases(name, sorted(options.sizes), options.calls))
        print(f"\n{table}", flush=True)


async def _measure_cases(name: str, sizes: Sequence[int], calls: int) -> str:
    cases = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder) / "data", free_port(), secrets.token_urlsafe(), {"fsync": "off"})
        async with RunningPart(server.part(), Path(folder) / "logs"), AsyncExitStack() as stack:
            databases = {}
            for size in sizes:
                url = await _create_database(server, cases, size)
                databases[size] = await stack.enter_async_context(Database(url, connections=2))
            latencies = {each: await _measure(read, databases, calls) for each, read in cases.reads.items()}
    return _render(name, sizes, latencies)


async def _create_database(server: Postgres, cases: Cases, size: int) -> str:
    """Creates and fills a database, and returns its URL."""
    name = f"{cases.service}_{size}"
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    await asyncio.to_thread(migrate, cases.service, server.url(name))
    connection = await asyncpg.connect(server.url(name))
    indexes = await connection.fetch(_INDEXES, cases.table)
    for index in indexes:  # building them later is faster
        await connection.execute(f"DROP INDEX {index['name']}")
    for statement in cases.fill:
        await connection.execute(statement.replace("{count}", str(size)))
    for index in indexes:
        await connection.execute(index["definition"])
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return server.url(name)


async def _measure(read: Read, databases: Mapping[int, Database], calls: int) -> dict[int, list[float]]:
    """Returns the latencies in milliseconds by size, sorted."""
    latencies: dict[int, list[float]] = {size: [] for size in databases}
    for call in range(_WARM_UP + calls):
        for size, database in databases.items():
            start = time.perf_counter()
            await read(database)
            if call >= _WARM_UP:
                latencies[size].append((time.perf_counter() - start) * 1000)
    return {size: sorted(each) for size, each in latencies.items()}


def _render(name: str, sizes: Sequence[int], latencies: Mapping[str, Mapping[int, Sequence[float]]]) -> str:
    header = [f"{name}, p50 / p99 in ms", *(f"{size:,} rows" for size in sizes), "p99, last to first"]
    lines = [header, ["---"] * len(header)]
    for read, by_size in latencies.items():
        ratio = _percentile(by_size[sizes[-1]], 0.99) / _percentile(by_size[sizes[0]], 0.99)
        cells = [f"{_percentile(by_size[size], 0.5):.1f} / {_percentile(by_size[size], 0.99):.1f}" for size in sizes]
        lines.append([read, *cells, f"{ratio:.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percentile(values: Sequence[float], share: float) -> float:
    return values[math.ceil(share * len(values)) - 1]


if __name__ == "__main__":
    main()
