"""Database access: statements that asyncpg runs, in transactions of one or more."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Self

import asyncpg
from asyncpg import Record
from opentelemetry import metrics
from opentelemetry.trace import SpanKind

from services.common.errors import DependencyUnavailable, Failure
from services.common.observability.tracing import start_span
from services.common.postgres.pool import Pool
from services.common.postgres.sqlstates import find_failure
from services.common.postgres.statement import CombinedStatement, Statement, combine
from services.common.retry import retry_while_unavailable
from services.common.settings import PooledDatabaseSettings, SettingsError, Switch

Conflicts = Mapping[str, type[Failure]]
"""The failure to raise when a unique constraint is violated, by the name of the constraint."""

_PREPARED: dict[Switch, int] = {"on": 100, "off": 0}
"""How many prepared statements a connection caches."""
_POOL = {"db.client.connection.pool.name": "database"}
_meter = metrics.get_meter("pulsetrack")
_connections = _meter.create_gauge(
    "db.client.connection.count", unit="{connection}", description="Connections in the pool, by state."
)
_most_connections = _meter.create_gauge(
    "db.client.connection.max", unit="{connection}", description="The maximum number of connections in the pool."
)
_MOST_COMBINED = 20
"""How many added statements run as one. A combination is compiled and planned for each number of statements."""
_WRONG_URL = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


class Transaction:
    """A transaction on one connection. It begins with the first statement that runs by itself.

    `add` collects statements, which run as one. A transaction of few added statements alone takes a single round trip.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._has_begun = False
        self._added: list[tuple[Statement, Mapping[str, Any]]] = []
        self._conflicts: dict[str, type[Failure]] = {}
        self._commit_callbacks: list[Callable[[], None]] = []

    async def row(self, statement: Statement, /, *, conflicts: Conflicts | None = None, **values: Any) -> Record | None:
        """Runs a statement and returns its first row, or None."""
        await self._begin()
        with _start_statement(statement, conflicts):
            return await self._connection.fetchrow(statement.sql, *statement.arguments(values))

    async def rows(self, statement: Statement, /, **values: Any) -> list[Record]:
        """Runs a statement and returns its rows."""
        await self._begin()
        with _start_statement(statement):
            return await self._connection.fetch(statement.sql, *statement.arguments(values))  # type: ignore[no-any-return]

    async def run(self, statement: Statement, /, *, conflicts: Conflicts | None = None, **values: Any) -> None:
        """Runs a statement that returns no rows."""
        await self.row(statement, conflicts=conflicts, **values)

    async def run_many(self, statement: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
        """Runs a statement for each row of values, in few round trips."""
        await self._begin()
        with _start_statement(statement):
            await self._connection.executemany(statement.sql, [statement.arguments(values) for values in rows])

    def add(self, statement: Statement, /, *, conflicts: Conflicts | None = None, **values: Any) -> None:
        """Adds a statement that returns no rows.

        It runs before the next statement or at the commit, together with the others added. None of them sees the
        effects of another, and no two may change the same row.
        """
        self._added.append((statement, values))
        self._conflicts |= conflicts or {}

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Registers a callback that runs after the commit, and does not run after a rollback."""
        self._commit_callbacks.append(callback)

    def run_commit_callbacks(self) -> None:
        """Runs the registered callbacks."""
        for callback in self._commit_callbacks:
            callback()

    async def commit(self) -> None:
        """Runs the added statements and commits."""
        await self._run_added()
        if self._has_begun:
            await self._connection.execute("COMMIT")

    async def roll_back(self) -> None:
        """Rolls back what has run."""
        if self._has_begun and not self._connection.is_closed():
            await self._connection.execute("ROLLBACK")

    async def _begin(self) -> None:
        if not self._has_begun:
            await self._connection.execute("BEGIN")
            self._has_begun = True
        await self._run_added()

    async def _run_added(self) -> None:
        if added := self._added:
            self._added = []
            if len(added) > _MOST_COMBINED:
                await self._run_grouped(added)
                return
            combined = combine(tuple(statement for statement, _ in added))
            with _start_statement(combined, self._conflicts):
                await self._connection.fetch(combined.sql, *combined.arguments([values for _, values in added]))

    async def _run_grouped(self, added: Sequence[tuple[Statement, Mapping[str, Any]]]) -> None:
        """Runs many added statements. Those with the same SQL run together, in few round trips."""
        groups: dict[Statement, list[Mapping[str, Any]]] = {}
        for statement, values in added:
            groups.setdefault(statement, []).append(values)
        await self._begin()
        for statement, rows in groups.items():
            with _start_statement(statement, self._conflicts):
                await self._connection.executemany(statement.sql, [statement.arguments(values) for values in rows])


current_transaction: ContextVar[Transaction] = ContextVar("transaction")
"""The transaction of the current call, which an interceptor begins and commits when the handler returns."""


class Database:
    """A pool of connections to the service's own database.

    Every method raises DependencyUnavailable if the database is unavailable, and the failures of sqlstates.FAILURES.
    Entering the context waits until the database is available, and raises SettingsError if the URL is invalid.
    """

    def __init__(self, url: str, *, connections: int = 10, prepared_statements: Switch = "on") -> None:
        self._pool = Pool(url, size=connections, prepared_statements=_PREPARED[prepared_statements])

    async def __aenter__(self) -> Self:
        try:
            await retry_while_unavailable(self._connect, activity="connecting to the database")
        except (ValueError, *_WRONG_URL) as error:
            # The text of a ValueError could quote a part of the password.
            reason = "not a URL" if isinstance(error, ValueError) else error
            raise SettingsError(f"PULSETRACK_DATABASE_URL is not the URL of the service's database: {reason}") from None
        self._pool.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def row(self, statement: Statement, /, *, conflicts: Conflicts | None = None, **values: Any) -> Record | None:
        """Runs one statement in its own transaction and returns its first row, or None."""
        async with self._connection() as connection:
            with _start_statement(statement, conflicts):
                return await connection.fetchrow(statement.sql, *statement.arguments(values))

    async def rows(self, statement: Statement, /, **values: Any) -> list[Record]:
        """Runs one statement in its own transaction and returns its rows."""
        async with self._connection() as connection:
            with _start_statement(statement):
                return await connection.fetch(statement.sql, *statement.arguments(values))  # type: ignore[no-any-return]

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Inserts rows by COPY in its own transaction, all or none. This is the fastest way to insert many rows."""
        async with self._connection() as connection:
            await connection.copy_records_to_table(table, columns=columns, records=rows)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        """Begins a transaction, which commits at the end of the block, or rolls back if the block raises."""
        async with self._connection() as connection:
            transaction = Transaction(connection)
            try:
                yield transaction
                await transaction.commit()
            except (asyncio.CancelledError, TimeoutError):
                raise  # the pool rolls back, and the caller does not wait for a server that does not respond
            except BaseException:
                await transaction.roll_back()
                raise
        transaction.run_commit_callbacks()

    async def ready(self) -> None:
        """Checks that the database accepts writes."""
        async with self._connection() as connection:
            if await connection.fetchval("SELECT current_setting('transaction_read_only')") == "on":
                raise asyncpg.ReadOnlySQLTransactionError("the database is read-only")

    async def _connect(self) -> None:
        try:
            async with self._connection() as connection:
                await connection.fetchval("SELECT 1")
        except DependencyUnavailable as failure:
            if isinstance(failure.__cause__, _WRONG_URL):
                raise failure.__cause__ from None
            raise

    async def measure(self) -> None:
        """Sets the gauges of the connection pool."""
        for state, count in {"idle": self._pool.idle, "used": self._pool.used}.items():
            _connections.set(count, _POOL | {"db.client.connection.state": state})
        _most_connections.set(self._pool.size, _POOL)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (OSError, TimeoutError) as error:
            raise DependencyUnavailable from error
        except asyncpg.PostgresError as error:
            if failure := find_failure(error):
                raise failure from error
            raise
        except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            # asyncpg raises these for a lost connection, and as ValueErrors for an invalid argument, which is a bug.
            if isinstance(error, ValueError):
                raise
            raise DependencyUnavailable from error


def open_database(settings: PooledDatabaseSettings) -> Database:
    """Returns the database of a service."""
    return Database(
        settings.database_url,
        connections=settings.database_connections,
        prepared_statements=settings.prepared_statements,
    )


@contextmanager
def _start_statement(statement: Statement | CombinedStatement, conflicts: Conflicts | None = None) -> Iterator[None]:
    try:
        with start_span(statement.summary, SpanKind.CLIENT, statement.attributes):
            yield
    except asyncpg.UniqueViolationError as error:
        if conflicts and (failure := conflicts.get(error.constraint_name)):
            raise failure from None
        raise
    except asyncpg.PostgresError as error:
        if failure := find_failure(error):
            raise failure from error
        raise
