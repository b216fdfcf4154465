"""The supervisor: starts each part after its dependencies, restarts failed parts, and stops them in reverse order."""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from deploy.errors import StartError
from tools.local.console import Console
from tools.local.part import Part, RunningPart, Step
from tools.local.process import describe_exit, kill_tree

_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 5.0
_HEALTHY_SECONDS = 30.0

# A frozen part is killed after at most 20 s without a response, and is ready again within 30 s.
_CHECK_SECONDS = 5.0
_CHECKS_FAILED = 3


class Supervisor:
    """Runs steps and parts, each after its dependencies."""

    def __init__(
        self,
        nodes: Iterable[Part | Step],
        logs: Path,
        console: Console,
        started: Callable[[Part, int], None],
    ) -> None:
        """Takes a callback that receives the part and the pid of every started process."""
        self._nodes = {node.name: node for node in nodes}
        self._console = console
        self._up = {name: asyncio.Event() for name in self._nodes}
        self._running = {
            node.name: RunningPart(node, logs, started=started)
            for node in self._nodes.values()
            if isinstance(node, Part)
        }

    async def run(self, stop: asyncio.Event, when_up: Callable[[], None]) -> None:
        """Starts all parts, calls `when_up`, keeps the parts running until `stop` is set, and stops them.

        Raises StartError if a part does not start.
        """
        work = asyncio.create_task(self._start_and_keep_all(when_up))
        stop_requested = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, stop_requested}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop_requested.cancel()
            work.cancel()
            (failure, _) = await asyncio.gather(work, stop_requested, return_exceptions=True)
            await self._stop()
        if isinstance(failure, Exception):
            raise _find_first(failure)

    def kill_all(self) -> None:
        """Kills all running parts. A stop in progress then ends at once."""
        for running in self._running.values():
            if running.is_running:
                kill_tree(running.pid)

    async def _start_and_keep_all(self, when_up: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as group:
            for node in self._nodes.values():
                group.create_task(self._start_and_keep(node))
            await self._wait_until_up(self._nodes)
            when_up()

    async def _start_and_keep(self, node: Part | Step) -> None:
        await self._load(node)
        await self._wait_until_up(node.needs)
        begin = time.monotonic()
        self._console.begin(node.name)
        await (node.run() if isinstance(node, Step) else self._running[node.name].start())
        self._console.complete(node.name, time.monotonic() - begin)
        self._up[node.name].set()
        if isinstance(node, Part):
            await self._keep_running(self._running[node.name])

    async def _load(self, node: Part | Step) -> None:
        if isinstance(node, Step):
            if node.load:
                await node.load()
        elif node.preloads_after is not None:
            await self._wait_until_up(node.preloads_after)
            await self._running[node.name].launch()

    async def _keep_running(self, running: RunningPart) -> None:
        """Restarts a part whenever it ends, with exponential backoff until it stays up."""
        delay, up_since = _FIRST_DELAY_SECONDS, time.monotonic()
        while True:
            what = await self._wait_for_failure(running)
            if time.monotonic() - up_since > _HEALTHY_SECONDS:
                delay = _FIRST_DELAY_SECONDS
            self._console.print(f"{running.part.name} {what}. Restarting in {delay:.1f} s")
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY_SECONDS)
            begin = time.monotonic()
            try:
                await running.start()
            except StartError as error:
                self._console.print(str(error))
                await running.stop()
                continue
            up_since = time.monotonic()
            self._console.print(f"{running.part.name} restarted in {up_since - begin:.2f} s")

    async def _wait_for_failure(self, running: RunningPart) -> str:
        """Waits until a part exits, or kills it when it no longer responds. Returns a description of what happened."""
        ended, unresponsive = (
            asyncio.create_task(running.wait()),
            asyncio.create_task(_wait_until_unresponsive(running)),
        )
        try:
            await asyncio.wait({ended, unresponsive}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return describe_exit(ended.result())
            await running.kill()
            return "did not respond and was killed"
        finally:
            ended.cancel()
            unresponsive.cancel()

    async def _wait_until_up(self, names: Iterable[str]) -> None:
        for name in names:
            await self._up[name].wait()

    async def _stop(self) -> None:
        """Stops each part after all parts that need it have stopped."""
        stopped = {name: asyncio.Event() for name in self._nodes}

        async def stop(name: str) -> None:
            for other in self._nodes.values():
                if name in other.needs:
                    await stopped[other.name].wait()
            if name in self._running:
                await self._running[name].stop()
            stopped[name].set()

        await asyncio.gather(*map(stop, self._nodes))


async def _wait_until_unresponsive(running: RunningPart) -> None:
    """Checks a part periodically, and returns after several consecutive failures."""
    failed = 0
    while failed < _CHECKS_FAILED:
        begin = time.monotonic()
        failed = 0 if await running.is_alive() else failed + 1
        await asyncio.sleep(max(0, _CHECK_SECONDS - (time.monotonic() - begin)))


def _find_first(error: Exception) -> Exception:
    """Returns the first exception of a possibly nested exception group."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
