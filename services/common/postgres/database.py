"""Database access: SQLAlchemy Core statements that are compiled once and run by asyncpg as prepared statements."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Self

import asyncpg
from asyncpg import Record
from opentelemetry import metrics
from opentelemetry.trace import SpanKind
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.util import find_tables

from services.common.errors import DependencyUnavailable, Failure
from services.common.observability.tracing import start_span
from services.common.postgres.pool import Pool
from services.common.postgres.sqlstates import find_failure
from services.common.retry import retry_while_unavailable
from services.common.settings import SettingsError

Conflicts = Mapping[str, type[Failure]]
"""The failure to raise when a unique constraint is violated, by the name of the constraint."""

_DIALECT = dialect()  # type: ignore[no-untyped-call]
_POOL = {"db.client.connection.pool.name": "database"}
_meter = metrics.get_meter("pulsetrack")
_connections = _meter.create_gauge(
    "db.client.connection.count", unit="{connection}", description="Connections in the pool, by state."
)
_most_connections = _meter.create_gauge(
    "db.client.connection.max", unit="{connection}", description="The maximum number of connections in the pool."
)
_WRONG_URL = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


class Statement:
    """A Core statement, compiled to SQL and the order of its arguments."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        self.sql = str(compiled)
        self._defaults = {name: value for name, value in compiled.params.items() if value is not None}
        self._order: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]
        operation = statement.__visit_name__.upper()
        tables = dict.fromkeys(str(table.name) for table in find_tables(statement, include_crud=True))
        self.summary = " ".join((operation, *tables))
        self.attributes = {
            "db.system.name": "postgresql",
            "db.operation.name": operation,
            "db.query.summary": self.summary,
        }
        if len(tables) == 1:
            self.attributes["db.collection.name"] = next(iter(tables))

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Returns the values in the order of the statement's parameters. Raises KeyError for a missing value."""
        if self._defaults:
            values = self._defaults | values  # type: ignore[operator]
        return [values[name] for name in self._order]


class Transaction:
    """An open transaction on one connection."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._commit_callbacks: list[Callable[[], None]] = []

    async def row(self, statement: Statement, /, *, conflicts: Conflicts | None = None, **values: Any) -> Record | None:
        """Runs a statement and returns its first row, or None."""
        with _start_statement(statement, conflicts):
            return await self._connection.fetchrow(statement.sql, *statement.arguments(values))

    async def rows(self, statement: Statement, /, **values: Any) -> list[Record]:
        """Runs a statement and returns its rows."""
        with _start_statement(statement):
            return await self._connection.fetch(statement.sql, *statement.arguments(values))  # type: ignore[no-any-return]

    async def run(self, statement: Statement, /, *, conflicts: Conflicts | None = None, **values: Any) -> None:
        """Runs a statement that returns no rows."""
        await self.row(statement, conflicts=conflicts, **values)

    async def run_many(self, statement: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
        """Runs a statement for each row of values, in few round trips."""
        with _start_statement(statement):
            await self._connection.executemany(statement.sql, [statement.arguments(values) for values in rows])

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Registers a callback that runs after the commit, and does not run after a rollback."""
        self._commit_callbacks.append(callback)

    def run_commit_callbacks(self) -> None:
        """Runs the registered callbacks."""
        for callback in self._commit_callbacks:
            callback()


current_transaction: ContextVar[Transaction] = ContextVar("transaction")
"""The transaction of the current call, which an interceptor begins and commits when the handler returns."""


class Database:
    """A pool of connections to the service's own database.

    Every method raises DependencyUnavailable if the database is unavailable, and the failures of sqlstates.FAILURES.
    Entering the context waits until the database is available, and raises SettingsError if the URL is invalid.
    """

    def __init__(self, url: str, *, connections: int = 10) -> None:
        self._pool = Pool(url, size=connections)

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
            async with connection.transaction():
                yield transaction
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


@contextmanager
def _start_statement(statement: Statement, conflicts: Conflicts | None = None) -> Iterator[None]:
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
