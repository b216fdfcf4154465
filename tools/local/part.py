"""Parts of the system: what is started once, and what runs until it is stopped."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.errors import StartError
from tools.local.logs import LogPipe
from tools.local.process import Command, failure, how_it_ended, kill_tree, spawn

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


class Running:
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
