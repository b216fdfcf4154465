"""A pool of asyncpg connections that hands out the connection used last, whose prepared statements are likely cached.

asyncpg's own pool creates a proxy, a task and two timers for each use of a connection, which costs more than a simple
statement. This pool takes a connection from a list and puts it back. Only the rare cases do more: opening a connection,
waiting for one, and recovering one whose statement was cancelled.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from services.common.background import BackgroundTask

_TIMEOUT = 5.0
"""Maximum time in seconds to open a connection, to wait for one, or to recover one."""
_STATEMENT_TIMEOUT = 10.0
"""Maximum time in seconds of a statement if the server does not respond. `statement_timeout` ends slow ones earlier."""
_IDLE_TIMEOUT = 300.0
_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""The exceptions of asyncpg. It raises InternalClientError for a statement on a connection that is about to be lost."""


class Pool:
    """A pool of at most `size` connections, which are opened on demand.

    A connection that remains idle is closed within 2 * `idle_timeout` seconds.
    """

    def __init__(
        self, url: str, *, size: int, idle_timeout: float = _IDLE_TIMEOUT, prepared_statements: int = 100
    ) -> None:
        """Takes the maximum numbers of connections and of prepared statements that each of them caches."""
        self.size = size
        self.used = 0
        self._url = url
        self._prepared_statements = prepared_statements
        self._slots = asyncio.Semaphore(size)
        self._idle: list[asyncpg.Connection] = []
        self._unneeded = 0
        self._recoveries: set[asyncio.Task[None]] = set()
        self._trimming = BackgroundTask(self._trim, activity="closing idle connections", interval=idle_timeout)
        self._is_closed = False

    @property
    def idle(self) -> int:
        """The number of idle connections."""
        return len(self._idle)

    def start(self) -> None:
        """Starts to close idle connections."""
        self._trimming.start()

    async def close(self) -> None:
        """Waits until all connections are idle, and closes them."""
        self._is_closed = True
        await self._trimming.stop()
        for _ in range(self.size):
            await self._slots.acquire()
        await self._close_idle(self.size)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Returns a connection for the block.

        Raises OSError, TimeoutError, asyncpg.PostgresError or asyncpg.InterfaceError if none is available.
        """
        connection = await self._acquire()
        try:
            yield connection
        except (asyncio.CancelledError, TimeoutError, asyncpg.InternalClientError):
            self._recover(connection)
            raise
        except BaseException as error:
            # The error itself, or the cause of the failure that it became within the block.
            if isinstance(error.__cause__ or error, asyncpg.ReadOnlySQLTransactionError):
                self._terminate_idle()  # the server is no longer the primary
                connection.terminate()
            self._release(connection)
            raise
        else:
            self._release(connection)

    async def _acquire(self) -> asyncpg.Connection:
        if self._is_closed:
            raise asyncpg.InterfaceError("the connection pool is closed")
        if self._slots.locked():
            async with asyncio.timeout(_TIMEOUT):
                await self._slots.acquire()
        else:
            await self._slots.acquire()
        self.used += 1
        try:
            while self._idle:
                connection = self._idle.pop()
                self._unneeded = min(self._unneeded, len(self._idle))
                if not connection.is_closed():
                    return connection
            return await asyncpg.connect(
                self._url,
                timeout=_TIMEOUT,
                command_timeout=_STATEMENT_TIMEOUT,
                statement_cache_size=self._prepared_statements,
            )
        except BaseException:
            self._release(None)
            raise

    def _release(self, connection: asyncpg.Connection | None) -> None:
        if connection and not connection.is_closed():
            if connection.is_in_transaction():  # its rollback failed
                connection.terminate()
            else:
                self._idle.append(connection)
        self.used -= 1
        self._slots.release()

    def _recover(self, connection: asyncpg.Connection) -> None:
        """Releases a connection once its statement, which may still be running, has been cancelled."""
        recovery = asyncio.create_task(self._reset(connection))
        self._recoveries.add(recovery)
        recovery.add_done_callback(self._recoveries.discard)

    async def _reset(self, connection: asyncpg.Connection) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                await connection.execute("ROLLBACK")  # waits for the cancellation
        except _ERRORS:
            connection.terminate()
        self._release(connection)

    async def _trim(self) -> None:
        """Closes the connections that have been idle since the last call. They are the first in the list."""
        await self._close_idle(self._unneeded)
        self._unneeded = len(self._idle)

    def _terminate_idle(self) -> None:
        for connection in self._idle:
            connection.terminate()
        self._idle.clear()

    async def _close_idle(self, count: int) -> None:
        closing, self._idle = self._idle[:count], self._idle[count:]
        for connection in closing:
            with suppress(*_ERRORS):
                await connection.close(timeout=_TIMEOUT)
