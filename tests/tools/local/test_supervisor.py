"""The supervisor, with parts that do nothing."""

import asyncio
import errno
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from deploy.errors import StartError
from tests.tools.local.fakes import (
    RecordingConsole,
    Started,
    build_supervisor,
    freezable_part,
    nothing,
    part,
    recording_part,
    run,
    step,
    stubborn_part,
    until,
    wait_until_ended,
)
from tools.local.part import Part, Step
from tools.local.process import Command
from tools.local.supervisor import Supervisor


def test_each_part_starts_after_its_dependencies(tmp_path: Path) -> None:
    nodes: list[Part | Step] = [
        part("gateway", "service"),
        part("service", "tables"),
        step("tables", "store", run=nothing),
        part("store"),
    ]
    console, _ = run(nodes, tmp_path, nothing)
    assert console.order() == ["store", "tables", "service", "gateway"]


def test_independent_parts_start_concurrently(tmp_path: Path) -> None:
    barrier = asyncio.Barrier(2)

    async def wait_at_barrier() -> None:
        async with asyncio.timeout(5):
            await barrier.wait()

    console, _ = run([step("one", run=wait_at_barrier), step("other", run=wait_at_barrier)], tmp_path, nothing)
    assert sorted(console.order()) == ["one", "other"]


def test_part_stops_after_all_parts_that_need_it(tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    nodes: list[Part | Step] = [
        recording_part("store", ends=ends),
        recording_part("service", "store", ends=ends),
        step("check", "service", run=nothing),
        recording_part("gateway", "check", ends=ends),
    ]
    _, started = run(nodes, tmp_path, nothing)
    assert ends.read_text().split() == ["gateway", "service", "store"]
    assert started.alive() == []


def test_part_that_exits_is_restarted_and_reported(tmp_path: Path) -> None:
    async def scenario(_: Supervisor, console: RecordingConsole, started: Started) -> None:
        started.kill("service")
        await until(lambda: len(console.lines) > 2)

    console, started = run([part("service")], tmp_path, scenario)
    assert console.lines[1] == "service was ended by SIGKILL. Restarting in 0.2 s"
    assert console.lines[2].startswith("service restarted in")
    assert len(started.processes["service"]) == 2
    assert started.alive() == []


def test_part_that_exits_repeatedly_is_restarted_with_backoff(tmp_path: Path) -> None:
    async def scenario(_: Supervisor, console: RecordingConsole, __: Started) -> None:
        await until(lambda: sum("Restarting" in line for line in console.lines) >= 3)

    console, _ = run([part("service", code="import time; time.sleep(0.1); raise SystemExit(3)")], tmp_path, scenario)
    delays = re.findall(r"exited with code 3. Restarting in ([\d.]+) s", "\n".join(console.lines))
    assert delays[:3] == ["0.2", "0.4", "0.8"]


def test_frozen_part_is_killed_and_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.local.supervisor._CHECK_SECONDS", 0.1)
    processes = Started()

    async def scenario(_: Supervisor, console: RecordingConsole, started: Started) -> None:
        started.last("service").send_signal(signal.SIGSTOP)
        await until(lambda: len(console.lines) > 2)

    console, started = run([freezable_part("service", processes)], tmp_path, scenario, processes)
    assert console.lines[1] == "service did not respond and was killed. Restarting in 0.2 s"
    assert len(started.processes["service"]) == 2
    assert started.alive() == []


def test_part_that_misses_single_checks_is_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.local.supervisor._CHECK_SECONDS", 0.05)
    responses = iter([True, False, False, True, False, False, True])
    all_checked = asyncio.Event()

    async def alive() -> bool:
        response = next(responses, None)
        if response is None:
            all_checked.set()
        return response is not False

    async def scenario(*_: object) -> None:
        async with asyncio.timeout(10):
            await all_checked.wait()

    slow = Part(name="service", command=part("").command, ready=part("").ready, alive=alive)
    _, started = run([slow], tmp_path, scenario)
    assert len(started.processes["service"]) == 1


def test_part_in_recovery_has_no_start_timeout_while_it_responds(tmp_path: Path) -> None:
    responses = iter([False] * 10)

    async def ready() -> bool:
        return next(responses, True)

    nodes = [
        Part(name="store", command=part("").command, ready=ready, alive=part("").ready, start_seconds=0, recovers=True)
    ]
    console, started = run(nodes, tmp_path, nothing)
    assert (console.order(), len(started.processes["store"])) == (["store"], 1)


def test_restart_that_fails_on_a_full_disk_is_retried(tmp_path: Path) -> None:
    starts = 0

    async def prepare(_: Path) -> None:
        nonlocal starts
        starts += 1
        if starts == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    async def scenario(_: Supervisor, console: RecordingConsole, started: Started) -> None:
        started.kill("service")
        await until(lambda: any("restarted in" in line for line in console.lines))

    server = Part(name="service", command=part("").command, ready=part("").ready, prepare=prepare)
    console, _ = run([server], tmp_path, scenario)
    assert console.lines[2].startswith("service cannot be started: [Errno 28] No space left on device")


def test_part_that_fails_to_start_stops_all_and_shows_its_log(tmp_path: Path) -> None:
    code = "print(*range(100), sep='\\n'); raise SystemExit('no room')"

    async def never() -> bool:
        return False

    broken = part("service", "store", code=code)
    nodes = [part("store"), Part(name="service", command=broken.command, ready=never, needs=broken.needs)]
    with pytest.raises(StartError) as caught:
        run(nodes, tmp_path, nothing)
    first, *log = str(caught.value).splitlines()
    assert first == f"service exited with code 1. Its log, {tmp_path / 'service.log'}, ends with:"
    assert (len(log), log[0], log[-1]) == (15, "  86", "  no room")


def test_part_that_is_never_ready_fails_to_start(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    nodes = [Part(name="service", command=part("").command, ready=never, start_seconds=0.2)]
    with pytest.raises(StartError, match="service was not ready after 0 s"):
        run(nodes, tmp_path, nothing)


def test_missing_program_is_named(tmp_path: Path) -> None:
    missing = Command(argv=("/no/such/program",))
    nodes = [Part(name="service", command=missing, ready=part("").ready)]
    with pytest.raises(StartError, match=r"service cannot be started: .*No such file.*program"):
        run(nodes, tmp_path, nothing)


def test_part_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    async def scenario(_: Supervisor, __: RecordingConsole, started: Started) -> None:
        await until(lambda: bool(started.last("stubborn").children()))
        children.extend(started.last("stubborn").children())
        await asyncio.sleep(0.1)  # until both ignore SIGTERM

    children: list[psutil.Process] = []
    _, started = run([stubborn_part("stubborn")], tmp_path, scenario)
    assert started.alive() == []
    assert all(map(wait_until_ended, children))


def test_second_signal_ends_a_slow_stop(tmp_path: Path) -> None:
    async def scenario(supervised: Supervisor, _: RecordingConsole, started: Started) -> None:
        await until(lambda: bool(started.last("stubborn").children()))
        asyncio.get_running_loop().call_later(0.3, supervised.kill_all)

    begin = time.monotonic()
    _, started = run([stubborn_part("stubborn", stop_seconds=60)], tmp_path, scenario)
    assert time.monotonic() - begin < 5
    assert started.alive() == []


def test_stop_during_a_start_leaves_no_process(tmp_path: Path) -> None:
    async def forever() -> None:
        await asyncio.sleep(60)

    supervised, _, started = build_supervisor([part("store"), step("tables", "store", run=forever)], tmp_path)

    async def main() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(supervised.run(stop, lambda: None))
        await until(lambda: bool(started.processes))
        stop.set()
        await running

    asyncio.run(main())
    assert started.alive() == []
