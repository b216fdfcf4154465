"""Direct access to the database of a service."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from tests.harness.background import Background


class Sql:
    """Runs statements on a database, each on a new connection: `sql("SELECT ...", value)`."""

    def __init__(self, background: Background, url: str) -> None:
        self._background = background
        self._url = url

    def __call__(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Runs a statement and returns its rows."""
        return self._background.run(self._rows(statement, values))

    @contextmanager
    def hold_locks(self, statement: str, *values: Any, commit: bool = False) -> Iterator[None]:
        """Runs a statement and holds its locks during a block, then rolls back or commits."""
        with self._background.during(self._hold(statement, values, commit=commit)):
            yield

    def count_waiting(self) -> int:
        """Returns the number of connections to the database that wait for a lock."""
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return int(self(waits)[0]["count"])

    async def _rows(self, statement: str, values: tuple[Any, ...]) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self._url)
        try:
            return await connection.fetch(statement, *values)  # type: ignore[no-any-return]
        finally:
            await connection.close()

    @asynccontextmanager
    async def _hold(self, statement: str, values: tuple[Any, ...], *, commit: bool) -> AsyncIterator[None]:
        connection = await asyncpg.connect(self._url)
        try:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(statement, *values)
            yield
            await (transaction.commit() if commit else transaction.rollback())
        finally:
            await connection.close()
