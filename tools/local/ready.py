"""Checks that ask a server once: `serves_...` whether it does its work, `answers_...` whether it answers at all."""

import asyncio
import os
import struct
from contextlib import closing

from deploy.errors import StartError

_SECONDS = 2
ALIVE_SECONDS = 5
"""How long a server that answers at all may take, on a machine that has much else to do."""

# Kafka's ApiVersions, version 0: length, API key 18, version 0, correlation id 1, no client id. Its answer begins with
# a length, the correlation id and the error code 0.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_ANSWER = struct.Struct(">iih")

# Postgres' SSLRequest, which the postmaster has answered by one byte before anybody is authenticated.
_SSL_REQUEST = struct.pack(">ii", 8, 80877103)


async def serves_grpc(host: str, port: int) -> bool:
    """Tells whether the health service of a gRPC server says that it serves."""
    return await _health(host, port, _SECONDS) == "SERVING"


async def answers_grpc(host: str, port: int) -> bool:
    """Tells whether a gRPC server answers a call to its health service, whatever it says."""
    return bool(await _health(host, port, ALIVE_SECONDS))


async def _health(host: str, port: int, seconds: float) -> str:
    """Returns the answer of the health service, or the name of the error; nothing if there is no answer."""
    if not await listens(host, port):
        return ""
    # Said before grpc is first imported: the supervisor starts processes, and its fork handlers would get in the way.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    import grpc.aio  # noqa: PLC0415 - costs 100 ms, spent here while services start
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    async with grpc.aio.insecure_channel(f"{host}:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            silent = error.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
            return "" if silent else str(error.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def serves_http(host: str, port: int, path: str) -> bool:
    """Tells whether a GET of the path is answered with status 200."""
    return await _get(host, port, path, _SECONDS) == b"HTTP/1.1 200"


async def answers_http(host: str, port: int, path: str) -> bool:
    """Tells whether a GET of the path is answered, with any status."""
    return bool(await _get(host, port, path, ALIVE_SECONDS))


async def _get(host: str, port: int, path: str, seconds: float) -> bytes:
    """Returns the beginning of the answer to a GET, with its status; nothing if there is none."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    return await _ask(host, port, request.encode(), 12, seconds)


async def serves_kafka(host: str, port: int, seconds: float = _SECONDS) -> bool:
    """Tells whether a broker answers the first request of every Kafka client."""
    answer = await _ask(host, port, _API_VERSIONS, _ANSWER.size, seconds)
    return bool(answer) and _ANSWER.unpack(answer)[1:] == (1, 0)


async def serves_postgres(url: str) -> bool:
    """Tells whether a Postgres server lets the user of the URL in. Raises StartError if the URL is wrong."""
    import asyncpg  # noqa: PLC0415 - costs 100 ms, spent here while Postgres starts

    try:
        connection = await asyncpg.connect(url, timeout=_SECONDS)
        await connection.close(timeout=_SECONDS)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise StartError(f"Postgres does not admit its superuser: {error}.") from None
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


async def answers_postgres(host: str, port: int) -> bool:
    """Tells whether a Postgres server answers, as one that recovers does too."""
    return bool(await _ask(host, port, _SSL_REQUEST, 1, ALIVE_SECONDS))


async def listens(host: str, port: int) -> bool:
    """Tells whether something accepts connections."""
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _ask(host: str, port: int, request: bytes, size: int, seconds: float) -> bytes:
    """Returns the first `size` bytes of the answer, or none if there is no such answer."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port)
            with closing(writer):
                writer.write(request)
                return await reader.readexactly(size)
    except (OSError, asyncio.IncompleteReadError):
        return b""
