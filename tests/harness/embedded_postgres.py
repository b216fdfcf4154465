"""An embedded Postgres server for the tests of its start-up and of its databases."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from tools.local.part import RunningPart
from tools.local.postgres import Postgres


def run_scenario(server: Postgres, scenario: Callable[[RunningPart], Awaitable[None]]) -> None:
    """Runs a scenario while the server is running."""

    async def main() -> None:
        async with RunningPart(server.part(), server.folder.parent / "logs") as running:
            await scenario(running)

    asyncio.run(main())


async def query(url: str, statement: str) -> object:
    """Returns the first value of a statement's result."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
