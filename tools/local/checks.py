"""Health checks of servers: whether they are ready, and whether they respond at all."""

import asyncio
import struct
from asyncio import StreamReader
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TypeVar

from deploy import probe
from deploy.errors import StartError

T = TypeVar("T")

_SECONDS = 2
ALIVE_SECONDS = 5
"""The time in which a live server responds, even on a busy machine."""

# Kafka's ApiVersions request, version 0: length, API key 18, version 0, correlation id 1, no client id. The response
# begins with a length, the correlation id and the error code 0.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_API_VERSIONS_RESPONSE = struct.Struct(">iih")

# Postgres' SSLRequest. The postmaster responds with one byte before authentication.
_SSL_REQUEST = struct.pack(">ii", 8, 80877103)


async def is_grpc_ready(host: str, port: int) -> bool:
    """Returns whether the health service of a gRPC server reports SERVING."""
    return await _exchange(host, port, probe.build_request(), _read_health, _SECONDS) or False


async def is_grpc_alive(host: str, port: int) -> bool:
    """Returns whether the health service of a gRPC server responds with any status."""
    return await _exchange(host, port, probe.build_request(), _read_health, ALIVE_SECONDS) is not None


async def _read_health(reader: StreamReader) -> bool:
    """Returns whether the status is SERVING."""
    while True:
        length, kind, flags, stream = probe.parse_header(await reader.readexactly(probe.HEADER_BYTES))
        serving = probe.find_status(kind, flags, stream, await reader.readexactly(length))
        if serving is not None:
            return serving


async def is_http_ready(host: str, port: int, path: str) -> bool:
    """Returns whether the response to a GET of the path has status 200."""
    return await _get(host, port, path, _SECONDS) == b"HTTP/1.1 200"


async def is_http_alive(host: str, port: int, path: str) -> bool:
    """Returns whether a GET of the path gets a response with any status."""
    return bool(await _get(host, port, path, ALIVE_SECONDS))


async def _get(host: str, port: int, path: str, seconds: float) -> bytes | None:
    """Returns the beginning of the response to a GET, which includes the status. None without a response."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    return await _exchange(host, port, request.encode(), lambda reader: reader.readexactly(12), seconds)


async def is_kafka_ready(host: str, port: int, seconds: float = _SECONDS) -> bool:
    """Returns whether a broker responds to ApiVersions, the first request of every Kafka client."""
    size = _API_VERSIONS_RESPONSE.size
    response = await _exchange(host, port, _API_VERSIONS, lambda reader: reader.readexactly(size), seconds)
    return response is not None and _API_VERSIONS_RESPONSE.unpack(response)[1:] == (1, 0)


async def is_postgres_ready(url: str) -> bool:
    """Returns whether a Postgres server accepts connections. Raises StartError if it rejects the credentials."""
    import asyncpg  # noqa: PLC0415 - takes 100 ms, while Postgres starts

    try:
        connection = await asyncpg.connect(url, timeout=_SECONDS)
        await connection.close(timeout=_SECONDS)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise StartError(f"Postgres rejects its superuser: {error}.") from None
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


async def is_postgres_alive(host: str, port: int) -> bool:
    """Returns whether a Postgres server responds, even during recovery."""
    return await _exchange(host, port, _SSL_REQUEST, lambda reader: reader.readexactly(1), ALIVE_SECONDS) is not None


async def is_listening(host: str, port: int) -> bool:
    """Returns whether a server accepts connections."""
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _exchange(
    host: str, port: int, request: bytes, read: Callable[[StreamReader], Awaitable[T]], seconds: float
) -> T | None:
    """Returns what is read from the response to a request. None if the response is incomplete or late."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port)
            with closing(writer):
                writer.write(request)
                return await read(reader)
    except (OSError, asyncio.IncompleteReadError):
        return None
