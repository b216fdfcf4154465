"""Parts of the system: what is started once, and what runs until it is stopped."""

import asyncio
import os
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.errors import StartError
from tools.local.process import Command, LogPipe, failure, how_it_ended, kill_tree, spawn

_POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something that is done once, when what it needs is up."""

    name: str
    run: Callable[[], Awaitable[None]]
    needs: tuple[str, ...] = ()


async def _nothing(_: Path) -> None:
    """Prepares nothing."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A server, as data."""

    name: str
    command: Command
    ready: Callable[[], Awaitable[bool]]
    """Tells whether the server does its work."""
    alive: Callable[[], Awaitable[bool]] | None = None
    """Tells whether the server answers at all, as one that waits for another does too; None if that is `ready`."""
    recovers: bool = False
    """Whether a start lasts as long as the server is alive: a database may have to recover for minutes."""
    needs: tuple[str, ...] = ()
    prepare: Callable[[Path], Awaitable[None]] = _nothing
    """Done before every start, with the part's log."""
    output: str = ""
    """The name of the log of the standard output, if it has one of its own."""
    start_seconds: float = 60
    """How long it may take to be ready."""
    stop_seconds: float = 2
    """How long it may take to end when asked; then it is killed."""
    ours: bool = False
    """True for PulseTrack's own programs."""


class RunningPart:
    """A part that runs: ready inside `async with`, ended after it.

    All methods belong to one event loop. The part ends with the thread that started it.
    """

    def __init__(self, part: Part, logs: Path, *, started: Callable[[Part, int], None] | None = None) -> None:
        self.part = part
        self.log = logs / f"{part.name}.log"
        self._output = logs / f"{part.output or part.name}.log"
        self._pipes: dict[Path, LogPipe] = {}
        self._started = started
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        return self._last.pid

    @property
    def runs(self) -> bool:
        """Whether there is a process, ready or not."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts the part and waits until it is ready. Raises StartError if it does not get so far."""
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            await self.part.prepare(self.log)
            self._pipes = self._pipes or {path: LogPipe(path) for path in {self.log, self._output}}
            output, errors = self._pipes[self._output], self._pipes[self.log]
            self._process = await spawn(self.part.command, output=output, errors=errors)
        except OSError as error:
            raise StartError(f"{self.part.name} cannot be started: {error}.") from None
        if self._started:
            self._started(self.part, self.pid)
        await self._until_ready()

    async def wait(self) -> int:
        """Waits for the end of the process and returns its code, negative for a signal."""
        return await self._last.wait()

    async def stop(self) -> None:
        """Asks the part to end, kills it if it takes too long, and returns when it is gone."""
        if self.runs:
            with suppress(ProcessLookupError):
                self._last.send_signal(self.part.command.stop_signal)
            try:
                await asyncio.wait_for(self.wait(), self.part.stop_seconds)
            except TimeoutError:
                await self.kill()
        for pipe in self._pipes.values():
            pipe.close()
        self._pipes = {}

    async def kill(self) -> None:
        """Kills the part with all its processes, and returns when it is gone."""
        kill_tree(self.pid)
        await self.wait()

    async def restart(self) -> None:
        """Stops the part if it runs, and starts it again. Raises StartError."""
        await self.stop()
        await self.start()

    @property
    def _last(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.part.name} has not been started")
        return self._process

    async def is_alive(self) -> bool:
        """Tells whether the part answers."""
        return await (self.part.alive or self.part.ready)()

    async def _until_ready(self) -> None:
        limit = time.monotonic() + self.part.start_seconds
        while True:
            ready = await self.part.ready()
            if (code := self._last.returncode) is not None:
                raise self._failed(how_it_ended(code))
            if ready:
                return
            if time.monotonic() > limit and not (self.part.recovers and await self.is_alive()):
                raise self._failed(f"was not ready after {self.part.start_seconds:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)

    def _failed(self, what: str) -> StartError:
        for pipe in self._pipes.values():
            pipe.drain()
        return StartError(failure(self.part.name, what, self.log))


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
