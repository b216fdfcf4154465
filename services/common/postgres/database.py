"""Postgres: SQLAlchemy Core statements, compiled once, run prepared by asyncpg."""

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
from services.common.postgres.sqlstates import failure_of
from services.common.retry import retry_while_unavailable
from services.common.settings import SettingsError

Conflicts = Mapping[str, type[Failure]]
"""Which failure a violated unique constraint means, by the constraint's name."""

_DIALECT = dialect()  # type: ignore[no-untyped-call]
_POOL = {"db.client.connection.pool.name": "database"}
_meter = metrics.get_meter("pulsetrack")
_connections = _meter.create_gauge(
    "db.client.connection.count", unit="{connection}", description="Connections in the pool, by state."
)
_most_connections = _meter.create_gauge(
    "db.client.connection.max", unit="{connection}", description="How many connections the pool may have."
)
_WRONG_URL = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


class Statement:
    """A Core statement, compiled once to SQL and the order of its arguments."""

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
        """Returns the values in the statement's order. Raises KeyError for one that is missing."""
        if self._defaults:
            values = self._defaults | values  # type: ignore[operator]
        return [values[name] for name in self._order]


class Transaction:
    """A transaction under way, on one connection."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._afterwards: list[Callable[[], None]] = []

    async def row(self, statement: Statement, /, *, conflicts: Conflicts | None = None, **values: Any) -> Record | None:
        """Runs a statement and returns its first row, if there is one."""
        with _running(statement, conflicts):
            return await self._connection.fetchrow(statement.sql, *statement.arguments(values))

    async def rows(self, statement: Statement, /, **values: Any) -> list[Record]:
        """Runs a statement and returns its rows."""
        with _running(statement):
            return await self._connection.fetch(statement.sql, *statement.arguments(values))  # type: ignore[no-any-return]

    async def run(self, statement: Statement, /, *, conflicts: Conflicts | None = None, **values: Any) -> None:
        """Runs a statement that returns no rows."""
        await self.row(statement, conflicts=conflicts, **values)

    async def run_many(self, statement: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
        """Runs a statement once for each row of values, in few round trips."""
        with _running(statement):
            await self._connection.executemany(statement.sql, [statement.arguments(values) for values in rows])

    def after_commit(self, call: Callable[[], None]) -> None:
        """Has something called when the transaction is committed, and not if it is rolled back."""
        self._afterwards.append(call)

    def committed(self) -> None:
        """Calls what waits for the commit."""
        for call in self._afterwards:
            call()


current_transaction: ContextVar[Transaction] = ContextVar("transaction")
"""The transaction that an interceptor has begun for a call, and commits when its handler has returned."""


class Database:
    """A pool of connections to the service's own database.

    Every method raises DependencyUnavailable when the database does not answer, and what sqlstates.FAILURES says of
    other errors. Opening it waits until the database answers, and raises SettingsError if the URL is wrong.
    """

    def __init__(self, url: str, *, connections: int = 10) -> None:
        self._url = url
        self._connections = connections
        self._pool: asyncpg.Pool

    async def __aenter__(self) -> Self:
        try:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=self._connections,
                timeout=5,
                command_timeout=10,
                connection_class=_Connection,
            )
            await retry_while_unavailable(self._connect, activity="connecting to the database")
        except (ValueError, *_WRONG_URL) as error:
            why = "it is no URL" if isinstance(error, ValueError) else error  # which could quote a part of the password
            raise SettingsError(f"PULSETRACK_DATABASE_URL does not lead to the service's database: {why}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def row(self, statement: Statement, /, *, conflicts: Conflicts | None = None, **values: Any) -> Record | None:
        """Runs one statement as its own transaction and returns its first row, if there is one."""
        async with self._connection() as connection:
            with _running(statement, conflicts):
                return await connection.fetchrow(statement.sql, *statement.arguments(values))

    async def rows(self, statement: Statement, /, **values: Any) -> list[Record]:
        """Runs one statement as its own transaction and returns its rows."""
        async with self._connection() as connection:
            with _running(statement):
                return await connection.fetch(statement.sql, *statement.arguments(values))  # type: ignore[no-any-return]

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Adds rows to a table as its own transaction, all or none: the fastest way for many."""
        async with self._connection() as connection:
            await connection.copy_records_to_table(table, columns=columns, records=rows)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        """Begins a transaction: committed at the end of the block, rolled back if an exception leaves it."""
        async with self._connection() as connection:
            transaction = Transaction(connection)
            async with connection.transaction():
                yield transaction
        transaction.committed()

    async def ready(self) -> None:
        """Returns if the database answers, and can be written to."""
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
        """Sets the gauges of the pool."""
        idle = self._pool.get_idle_size()
        for state, count in {"idle": idle, "used": self._pool.get_size() - idle}.items():
            _connections.set(count, _POOL | {"db.client.connection.state": state})
        _most_connections.set(self._pool.get_max_size(), _POOL)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        try:
            async with self._pool.acquire(timeout=5) as connection:
                yield connection
        except (OSError, TimeoutError) as error:
            raise DependencyUnavailable from error
        except asyncpg.PostgresError as error:
            if failure := failure_of(error):
                raise failure from error
            raise
        except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            # What asyncpg raises of a connection that was lost under it; but also of a wrong argument, ours to mend.
            if isinstance(error, ValueError):
                raise
            raise DependencyUnavailable from error


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that is given back without a round trip: nothing here changes a session's state."""

    def get_reset_query(self) -> str:
        return ""


@contextmanager
def _running(statement: Statement, conflicts: Conflicts | None = None) -> Iterator[None]:
    try:
        with start_span(statement.summary, SpanKind.CLIENT, statement.attributes):
            yield
    except asyncpg.UniqueViolationError as error:
        if conflicts and (failure := conflicts.get(error.constraint_name)):
            raise failure from None
        raise
    except asyncpg.PostgresError as error:
        if failure := failure_of(error):
            raise failure from error
        raise
