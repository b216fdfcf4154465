"""Readiness checks: each asks a server once, and tells whether it does its work. None of them waits for long."""

import asyncio
import os
import struct
from contextlib import closing

_SECONDS = 2

# Kafka's ApiVersions, version 0: length, API key 18, version 0, correlation id 1, no client id. Its answer begins with
# a length, the correlation id and the error code 0.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_ANSWER = struct.Struct(">iih")


async def serves_grpc(host: str, port: int) -> bool:
    """Tells whether the health service of a gRPC server says that it serves."""
    if not await listens(host, port):
        return False
    # Said before grpc is first imported: the supervisor starts processes, and its fork handlers would get in the way.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    import grpc.aio  # noqa: PLC0415 - costs 100 ms, spent here while services start
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    async with grpc.aio.insecure_channel(f"{host}:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def serves_http(host: str, port: int, path: str) -> bool:
    """Tells whether a GET of the path is answered with status 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    answer = await _ask(host, port, request.encode(), 12)
    return answer == b"HTTP/1.1 200"


async def serves_kafka(host: str, port: int) -> bool:
    """Tells whether a broker answers the first request of every Kafka client."""
    answer = await _ask(host, port, _API_VERSIONS, _ANSWER.size)
    return bool(answer) and _ANSWER.unpack(answer)[1:] == (1, 0)


async def serves_postgres(url: str) -> bool:
    """Tells whether a Postgres server lets the user of the URL in."""
    import asyncpg  # noqa: PLC0415 - costs 100 ms, spent here while Postgres starts

    try:
        connection = await asyncpg.connect(url, timeout=_SECONDS)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
        return False
    await connection.close()
    return True


async def listens(host: str, port: int) -> bool:
    """Tells whether something accepts connections."""
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _ask(host: str, port: int, request: bytes, size: int) -> bytes:
    """Returns the first `size` bytes of the answer, or none if there is no such answer."""
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            with closing(writer):
                writer.write(request)
                return await reader.readexactly(size)
    except (OSError, asyncio.IncompleteReadError):
        return b""
