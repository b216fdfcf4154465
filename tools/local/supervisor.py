"""The supervisor: brings parts up as soon as what they need is up, keeps them up, and stops them in reverse."""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from deploy.errors import StartError
from tools.local.console import Progress
from tools.local.part import Part, RunningPart, Step
from tools.local.process import how_it_ended, kill_tree

_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 5.0
_HEALTHY_SECONDS = 30.0

# A part that is frozen is back within 30 s: it is killed after at most 20 s of silence.
_CHECK_SECONDS = 5.0
_CHECKS_FAILED = 3


class Supervisor:
    """Runs steps and parts, each after all that it needs."""

    def __init__(
        self,
        nodes: Iterable[Part | Step],
        logs: Path,
        progress: Progress,
        started: Callable[[Part, int], None],
    ) -> None:
        """Takes what is told of every process that is started: its part and its pid."""
        self._nodes = {node.name: node for node in nodes}
        self._progress = progress
        self._up = {name: asyncio.Event() for name in self._nodes}
        self._running = {
            node.name: RunningPart(node, logs, started=started)
            for node in self._nodes.values()
            if isinstance(node, Part)
        }

    async def run(self, stop: asyncio.Event, when_up: Callable[[], None]) -> None:
        """Brings everything up, then calls `when_up`, keeps everything up until `stop`, and stops everything.

        Raises StartError if something does not come up.
        """
        work = asyncio.create_task(self._work(when_up))
        asked = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            work.cancel()
            (failure, _) = await asyncio.gather(work, asked, return_exceptions=True)
            await self._stop()
        if isinstance(failure, Exception):
            raise _first(failure)

    def hurry(self) -> None:
        """Kills everything that still runs, so that a stop under way ends now."""
        for running in self._running.values():
            if running.runs:
                kill_tree(running.pid)

    async def _work(self, when_up: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as group:
            for node in self._nodes.values():
                group.create_task(self._keep(node))
            await self._all_up(self._nodes)
            when_up()

    async def _keep(self, node: Part | Step) -> None:
        await self._all_up(node.needs)
        begin = time.monotonic()
        self._progress.begin(node.name)
        await (node.run() if isinstance(node, Step) else self._running[node.name].start())
        self._progress.done(node.name, time.monotonic() - begin)
        self._up[node.name].set()
        if isinstance(node, Part):
            await self._keep_running(self._running[node.name])

    async def _keep_running(self, running: RunningPart) -> None:
        """Starts a part again whenever it ends: at once at first, ever later if it does not stay up."""
        delay, up_since = _FIRST_DELAY_SECONDS, time.monotonic()
        while True:
            what = await self._end_of(running)
            if time.monotonic() - up_since > _HEALTHY_SECONDS:
                delay = _FIRST_DELAY_SECONDS
            self._progress.say(f"{running.part.name} {what}; starting it again in {delay:.1f} s")
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY_SECONDS)
            begin = time.monotonic()
            try:
                await running.start()
            except StartError as error:
                self._progress.say(str(error))
                await running.stop()
                continue
            up_since = time.monotonic()
            self._progress.say(f"{running.part.name} is up again after {up_since - begin:.2f} s")

    async def _end_of(self, running: RunningPart) -> str:
        """Waits until a part ends, or kills it when it no longer answers. Returns what happened in words."""
        ended, silent = asyncio.create_task(running.wait()), asyncio.create_task(_until_silent(running))
        try:
            await asyncio.wait({ended, silent}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return how_it_ended(ended.result())
            await running.kill()
            return "did not answer and was killed"
        finally:
            ended.cancel()
            silent.cancel()

    async def _all_up(self, names: Iterable[str]) -> None:
        for name in names:
            await self._up[name].wait()

    async def _stop(self) -> None:
        """Stops every part as soon as nothing that needs it runs."""
        stopped = {name: asyncio.Event() for name in self._nodes}

        async def stop(name: str) -> None:
            for other in self._nodes.values():
                if name in other.needs:
                    await stopped[other.name].wait()
            if name in self._running:
                await self._running[name].stop()
            stopped[name].set()

        await asyncio.gather(*map(stop, self._nodes))


async def _until_silent(running: RunningPart) -> None:
    """Checks a part again and again, until it has failed to answer several times in a row."""
    failed = 0
    while failed < _CHECKS_FAILED:
        begin = time.monotonic()
        failed = 0 if await running.is_alive() else failed + 1
        await asyncio.sleep(max(0, _CHECK_SECONDS - (time.monotonic() - begin)))


def _first(error: Exception) -> Exception:
    """Returns the first exception of a group of exceptions, however deep."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
