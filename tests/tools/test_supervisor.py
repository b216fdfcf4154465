"""The supervisor, over parts that do nothing."""

import asyncio
import errno
import re
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psutil
import pytest

from deploy.errors import StartError
from tests.tools.fakes import Journal, Started, deaf_part, ends, freezable_part, noting_part, part, step, supervisor
from tools.local.part import Part, Step
from tools.local.process import Command
from tools.local.supervisor import Supervisor

Story = Callable[[Supervisor, Journal, Started], Awaitable[None]]


def run(
    nodes: Sequence[Part | Step], logs: Path, story: Story, started: Started | None = None
) -> tuple[Journal, Started]:
    """Runs the nodes, tells the story once they are up, and stops them."""
    supervised, journal, started = supervisor(nodes, logs, started)

    async def whole() -> None:
        stop, up = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(supervised.run(stop, up.set))
        waiting = asyncio.create_task(up.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if up.is_set():
            await story(supervised, journal, started)
        stop.set()
        await running

    asyncio.run(whole())
    return journal, started


async def nothing(*_: object) -> None:
    """The story in which nothing happens."""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - processes set no events
            await asyncio.sleep(0.02)


def test_each_part_comes_up_after_what_it_needs(tmp_path: Path) -> None:
    nodes: list[Part | Step] = [
        part("gateway", "service"),
        part("service", "tables"),
        step("tables", "store", run=nothing),
        part("store"),
    ]
    journal, _ = run(nodes, tmp_path, nothing)
    assert journal.order() == ["store", "tables", "service", "gateway"]


def test_parts_that_need_nothing_of_each_other_come_up_together(tmp_path: Path) -> None:
    met = asyncio.Barrier(2)

    async def meet() -> None:
        async with asyncio.timeout(5):
            await met.wait()

    journal, _ = run([step("one", run=meet), step("other", run=meet)], tmp_path, nothing)
    assert sorted(journal.order()) == ["one", "other"]


def test_a_part_stops_after_all_that_need_it(tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    nodes: list[Part | Step] = [
        noting_part("store", ends=ends),
        noting_part("service", "store", ends=ends),
        step("check", "service", run=nothing),
        noting_part("gateway", "check", ends=ends),
    ]
    _, started = run(nodes, tmp_path, nothing)
    assert ends.read_text().split() == ["gateway", "service", "store"]
    assert started.alive() == []


def test_a_part_that_dies_is_started_again_and_the_user_is_told(tmp_path: Path) -> None:
    async def story(_: Supervisor, journal: Journal, started: Started) -> None:
        started.kill("service")
        await until(lambda: len(journal.lines) > 2)

    journal, started = run([part("service")], tmp_path, story)
    assert journal.lines[1] == "service was ended by SIGKILL; starting it again in 0.2 s"
    assert journal.lines[2].startswith("service is up again after")
    assert len(started.processes["service"]) == 2
    assert started.alive() == []


def test_a_part_that_keeps_dying_is_started_ever_later(tmp_path: Path) -> None:
    async def story(_: Supervisor, journal: Journal, __: Started) -> None:
        await until(lambda: sum("starting it again" in line for line in journal.lines) >= 3)

    journal, _ = run([part("service", code="import time; time.sleep(0.1); raise SystemExit(3)")], tmp_path, story)
    delays = re.findall(r"ended with exit code 3; starting it again in ([\d.]+) s", "\n".join(journal.lines))
    assert delays[:3] == ["0.2", "0.4", "0.8"]


def test_a_frozen_part_is_killed_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.local.supervisor._CHECK_SECONDS", 0.1)
    processes = Started()

    async def story(_: Supervisor, journal: Journal, started: Started) -> None:
        started.last("service").send_signal(signal.SIGSTOP)
        await until(lambda: len(journal.lines) > 2)

    journal, started = run([freezable_part("service", processes)], tmp_path, story, processes)
    assert journal.lines[1] == "service did not answer and was killed; starting it again in 0.2 s"
    assert len(started.processes["service"]) == 2
    assert started.alive() == []


def test_a_part_that_answers_late_once_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.local.supervisor._CHECK_SECONDS", 0.05)
    answers = iter([True, False, False, True, False, False, True])
    asked_all = asyncio.Event()

    async def alive() -> bool:
        answer = next(answers, None)
        if answer is None:
            asked_all.set()
        return answer is not False

    async def story(*_: object) -> None:
        async with asyncio.timeout(10):
            await asked_all.wait()

    slow = Part(name="service", command=part("").command, ready=part("").ready, alive=alive)
    _, started = run([slow], tmp_path, story)
    assert len(started.processes["service"]) == 1


def test_a_part_that_recovers_is_waited_for_as_long_as_it_answers(tmp_path: Path) -> None:
    answers = iter([False] * 10)

    async def ready() -> bool:
        return next(answers, True)

    nodes = [
        Part(name="store", command=part("").command, ready=ready, alive=part("").ready, start_seconds=0, recovers=True)
    ]
    journal, started = run(nodes, tmp_path, nothing)
    assert (journal.order(), len(started.processes["store"])) == (["store"], 1)


def test_a_part_whose_start_the_disk_does_not_allow_is_tried_again(tmp_path: Path) -> None:
    starts = 0

    async def prepare(_: Path) -> None:
        nonlocal starts
        starts += 1
        if starts == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    async def story(_: Supervisor, journal: Journal, started: Started) -> None:
        started.kill("service")
        await until(lambda: any("is up again" in line for line in journal.lines))

    server = Part(name="service", command=part("").command, ready=part("").ready, prepare=prepare)
    journal, _ = run([server], tmp_path, story)
    assert journal.lines[2].startswith("service cannot be started: [Errno 28] No space left on device")


def test_a_part_that_does_not_come_up_stops_all_and_shows_its_log(tmp_path: Path) -> None:
    code = "print(*range(100), sep='\\n'); raise SystemExit('no room')"

    async def never() -> bool:
        return False

    broken = part("service", "store", code=code)
    nodes = [part("store"), Part(name="service", command=broken.command, ready=never, needs=broken.needs)]
    with pytest.raises(StartError) as caught:
        run(nodes, tmp_path, nothing)
    first, *log = str(caught.value).splitlines()
    assert first == f"service ended with exit code 1. Its log, {tmp_path / 'service.log'}, ends with:"
    assert (len(log), log[0], log[-1]) == (15, "  86", "  no room")


def test_a_part_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    nodes = [Part(name="service", command=part("").command, ready=never, start_seconds=0.2)]
    with pytest.raises(StartError, match="service was not ready after 0 s"):
        run(nodes, tmp_path, nothing)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = Command(argv=("/no/such/program",))
    nodes = [Part(name="service", command=missing, ready=part("").ready)]
    with pytest.raises(StartError, match=r"service cannot be started: .*No such file.*program"):
        run(nodes, tmp_path, nothing)


def test_what_does_not_hear_is_killed_with_its_children(tmp_path: Path) -> None:
    async def story(_: Supervisor, __: Journal, started: Started) -> None:
        await until(lambda: bool(started.last("deaf").children()))
        children.extend(started.last("deaf").children())
        await asyncio.sleep(0.1)  # until both are deaf

    children: list[psutil.Process] = []
    _, started = run([deaf_part("deaf")], tmp_path, story)
    assert started.alive() == []
    assert all(map(ends, children))


def test_a_second_signal_ends_a_slow_stop(tmp_path: Path) -> None:
    async def story(supervised: Supervisor, _: Journal, started: Started) -> None:
        await until(lambda: bool(started.last("deaf").children()))
        asyncio.get_running_loop().call_later(0.3, supervised.hurry)

    begin = time.monotonic()
    _, started = run([deaf_part("deaf", stop_seconds=60)], tmp_path, story)
    assert time.monotonic() - begin < 5
    assert started.alive() == []


def test_a_stop_in_the_middle_of_a_start_leaves_nothing(tmp_path: Path) -> None:
    async def forever() -> None:
        await asyncio.sleep(60)

    supervised, _, started = supervisor([part("store"), step("tables", "store", run=forever)], tmp_path)

    async def whole() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(supervised.run(stop, lambda: None))
        await until(lambda: bool(started.processes))
        stop.set()
        await running

    asyncio.run(whole())
    assert started.alive() == []
