"""The database connections of a process."""

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

_CONNECTIONS = 10


class Database:
    """The engines of a process: one for transactions, and one whose statements each commit on their own.

    A read through the second engine takes one round trip instead of three. Unless the process is tuned, reads use the
    first engine.
    """

    def __init__(self, url: str, *, connections: int = _CONNECTIONS, is_tuned: bool = True) -> None:
        self.engine = create_async_engine(url, pool_size=connections, max_overflow=0)
        self._reader: AsyncEngine = create_async_engine(
            url, pool_size=connections, max_overflow=0, isolation_level="AUTOCOMMIT", pool_reset_on_return=None
        )
        self.changes = async_sessionmaker(self.engine, expire_on_commit=False)
        self.reads = async_sessionmaker(
            self._reader if is_tuned else self.engine, expire_on_commit=False, autoflush=False
        )

    def read(self) -> AsyncSession:
        """Returns a session for reads."""
        return self.reads()

    async def close(self) -> None:
        """Closes the connections."""
        await self.engine.dispose()
        await self._reader.dispose()
