"""A look into a database from outside of the service that owns it."""

from typing import Any

import asyncpg

from tests.harness.background import Background


class Sql:
    """Runs statements on a database, each on a connection of its own: `sql("SELECT ...", value)`."""

    def __init__(self, background: Background, url: str) -> None:
        self._background = background
        self._url = url

    def __call__(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Runs a statement and returns its rows."""
        return self._background.run(self._rows(statement, values))

    async def _rows(self, statement: str, values: tuple[Any, ...]) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self._url)
        try:
            return await connection.fetch(statement, *values)  # type: ignore[no-any-return]
        finally:
            await connection.close()
