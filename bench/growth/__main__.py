"""Measures reads with growing tables: `python -m bench.growth`.

Calls the services' own code on a Postgres server, without gRPC. The sizes take turns, so noise affects all alike.
"""

import argparse
import asyncio
import secrets
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
from sqlalchemy import func, select

from bench.growth.access_events import ACCESS_EVENTS
from bench.growth.accounts import AUTH, BILLING
from bench.growth.analytics import ANALYTICS
from bench.growth.cases import Cases, Read
from bench.growth.patients import PATIENTS
from bench.growth.plans import ExplainedDatabase, summarize_plans
from bench.growth.report import DOCUMENT, Growth, Sample, render_section, write_section
from services.common.postgres.database import Database
from services.common.postgres.migrate import migrate
from services.common.postgres.statement import Statement
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

_SERVER_PROCESS = Statement(select(func.pg_backend_pid().label("pid")))

_INDEXES = """
    SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index
    WHERE indrelid = $1::text::regclass AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


def main() -> None:
    """Fills databases of each size, measures, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], help="reads to measure (all)")
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES, help="numbers of rows (1000 100000)")
    parser.add_argument("--calls", type=int, default=_CALLS, help="number of calls of each read (200)")
    parser.add_argument("--docs", action="store_true", help="also write the tables to docs/growth.md")
    options = parser.parse_args()
    for name in options.cases or CASES:
        growths = asyncio.run(_measure_cases(CASES[name], sorted(options.sizes), options.calls))
        section = render_section(name, CASES[name].note, growths)
        print(f"\n{section}", flush=True)
        if options.docs:
            write_section(DOCUMENT, section, order=[*CASES])


async def _measure_cases(cases: Cases, sizes: Sequence[int], calls: int) -> list[Growth]:
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder) / "data", free_port(), secrets.token_urlsafe(), {"fsync": "off"})
        async with RunningPart(server.part(), Path(folder) / "logs"), AsyncExitStack() as stack:
            urls = {size: await _create_database(server, cases, size) for size in sizes}
            databases = {
                size: await stack.enter_async_context(Database(url, connections=1)) for size, url in urls.items()
            }
            explained = await stack.enter_async_context(ExplainedDatabase(urls[sizes[-1]]))
            return [
                Growth(
                    read=name,
                    samples=await _measure(read, databases, calls),
                    plan=summarize_plans(await explained.explain(read(explained))),
                )
                for name, read in cases.reads.items()
            ]


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


async def _measure(read: Read, databases: Mapping[int, Database], calls: int) -> dict[int, Sample]:
    """Returns the costs of calls by size."""
    servers = {size: await _find_server_process(database) for size, database in databases.items()}
    samples = {size: Sample() for size in databases}
    for call in range(_WARM_UP + calls):
        for size, database in databases.items():
            cpu, start = _read_cpu_us(servers[size]), time.perf_counter()
            await read(database)
            end = time.perf_counter()
            if call >= _WARM_UP:
                samples[size].add(latency_ms=(end - start) * 1000, cpu_us=_read_cpu_us(servers[size]) - cpu)
    return samples


async def _find_server_process(database: Database) -> int:
    """Returns the process id of the server for the only connection to a database."""
    row = await database.row(_SERVER_PROCESS)
    return int(row["pid"]) if row else 0


def _read_cpu_us(server_process: int) -> float:
    """Returns the CPU time of this process and of a server process, in microseconds."""
    nanoseconds = Path(f"/proc/{server_process}/schedstat").read_text(encoding="ascii").split()[0]
    return (time.process_time_ns() + int(nanoseconds)) / 1000


if __name__ == "__main__":
    main()
