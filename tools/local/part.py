"""The parts of the system: steps that run once, and servers that run until they are stopped."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.errors import StartError
from tools.local.process import Command, LogPipe, describe_exit, describe_failure, kill_tree, spawn

_POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Step:
    """An action that runs once, after the nodes that it needs."""

    name: str
    run: Callable[[], Awaitable[None]]
    needs: tuple[str, ...] = ()
    load: Callable[[], Awaitable[None]] | None = None
    """Runs before the nodes that it needs are up."""


async def _prepare_nothing(_: Path) -> None:
    """Does nothing."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The description of a server."""

    name: str
    command: Command
    ready: Callable[[], Awaitable[bool]]
    """Returns whether the server is ready."""
    alive: Callable[[], Awaitable[bool]] | None = None
    """Returns whether the server responds, even if it is not ready. None if that is the same as `ready`."""
    recovers: bool = False
    """Whether the start has no timeout while the server is alive. The recovery of a database can take minutes."""
    needs: tuple[str, ...] = ()
    preloads_after: tuple[str, ...] | None = None
    """The nodes after which it is launched, before all that it needs are up, to wait for a line on its standard input.

    None if it is launched after all that it needs.
    """
    prepare: Callable[[Path], Awaitable[None]] = _prepare_nothing
    """Runs before every start, with the part's log."""
    output: str = ""
    """The name of the log of the standard output, if it differs from the part's log."""
    start_seconds: float = 60
    """The time in which it must become ready."""
    stop_seconds: float = 2
    """The time in which it must stop before it is killed."""
    ours: bool = False
    """True for PulseTrack's own programs."""


class RunningPart:
    """A running part. As a context manager, it is ready inside the block and stopped after it.

    All methods must run on one event loop. The part stops with the thread that started it.
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
    def is_running(self) -> bool:
        """Whether the process is running, ready or not."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts the part, unless it has been launched, and waits until it is ready. Raises StartError if it fails."""
        if not self.is_running:
            await self.launch()
        if stdin := self._last.stdin:
            stdin.write(b"start\n")
            stdin.close()
        await self._wait_until_ready()

    async def launch(self) -> None:
        """Starts the process. A preloaded part does not begin to serve. Raises StartError if it fails."""
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            await self.part.prepare(self.log)
            self._pipes = self._pipes or {path: LogPipe(path) for path in {self.log, self._output}}
            output, errors = self._pipes[self._output], self._pipes[self.log]
            stdin = asyncio.subprocess.PIPE if self.part.preloads_after is not None else None
            self._process = await spawn(self.part.command, output=output, errors=errors, stdin=stdin)
        except OSError as error:
            raise StartError(f"{self.part.name} cannot be started: {error}.") from None
        if self._started:
            self._started(self.part, self.pid)

    async def wait(self) -> int:
        """Waits until the process exits and returns its code, which is negative for a signal."""
        return await self._last.wait()

    async def stop(self) -> None:
        """Stops the part, and kills it if it takes too long."""
        if self.is_running:
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
        """Kills the part and its descendants, and waits until the process has exited."""
        kill_tree(self.pid)
        await self.wait()

    async def restart(self) -> None:
        """Stops the part if it is running, and starts it again. Raises StartError."""
        await self.stop()
        await self.start()

    @property
    def _last(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.part.name} has not been started")
        return self._process

    async def is_alive(self) -> bool:
        """Returns whether the part responds."""
        return await (self.part.alive or self.part.ready)()

    async def _wait_until_ready(self) -> None:
        limit = time.monotonic() + self.part.start_seconds
        while True:
            ready = await self.part.ready()
            if (code := self._last.returncode) is not None:
                raise self._build_error(describe_exit(code))
            if ready:
                return
            if time.monotonic() > limit and not (self.part.recovers and await self.is_alive()):
                raise self._build_error(f"was not ready after {self.part.start_seconds:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)

    def _build_error(self, what: str) -> StartError:
        for pipe in self._pipes.values():
            pipe.drain()
        return StartError(describe_failure(self.part.name, what, self.log))
