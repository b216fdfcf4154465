"""Faults under load. Acknowledged patients exist once; a table shows the longest time without a successful create."""

import logging
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.clocks import LIBRARY, MOVABLE, Clocks, clock_offset
from tests.e2e.disk import fill, mount_disk
from tests.e2e.patient_creator import PatientCreator, log_in
from tests.harness.waiting import eventually
from tools.instance import Instance, run_instance

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

_log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs a line for each request

PARTS = ("gateway", "auth", "patient", "billing", "analytics", "broker", "postgres")
FROZEN_SECONDS = 20
FULL_SECONDS = 15
HOUR_SECONDS = 3600
MOVED_SECONDS = 12
"""How long a clock is wrong. Longer than the lease of the outbox, 10 s."""
AROUND_SECONDS = 3
"""How long the load runs before and after the fault."""

CLOCK_GROUPS = (MOVABLE, ("auth",), ("patient",), ("billing", "analytics"), ("postgres",))

Row = tuple[str, int, int, float]
Fault = Callable[[Instance], None]


@pytest.fixture(scope="module")
def table() -> Iterator[list[Row]]:
    """The rows of the table, which is logged at the end."""
    rows: list[Row] = []
    yield rows
    lines = [f"| {name} | {created} | {failed} | {silence:.1f} s |" for name, created, failed, silence in rows]
    head = ["| fault | created | tries that failed | longest silence |", "|---|---|---|---|"]
    _log.info("\n%s", "\n".join(head + lines))


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A small file system, or None if mounting is not permitted."""
    with mount_disk(tmp_path_factory.mktemp("disk"), megabytes=1500) as disk:
        yield disk


@pytest.fixture(scope="module")
def own_instance(small_disk: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance into which faults are injected."""
    folder = small_disk or tmp_path_factory.mktemp("own_instance")
    with run_instance(folder / "data", PULSETRACK_RATE_LIMITS="off") as instance:
        yield instance


@pytest.fixture(scope="module")
def clocks() -> Iterator[Clocks]:
    """The clocks of the processes of `movable`."""
    if not LIBRARY.exists():
        pytest.skip("libfaketime is not installed")
    with tempfile.TemporaryDirectory(prefix="pulsetrack-clocks-") as folder:
        Path(folder).chmod(0o755)
        yield Clocks(Path(folder))


@pytest.fixture(scope="module")
def movable(clocks: Clocks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance with movable clocks."""
    folder = tmp_path_factory.mktemp("movable") / "data"
    environment = {"PULSETRACK_RATE_LIMITS": "off", **clocks.environment}
    with run_instance(folder, module="tests.e2e.clocks", **environment) as instance:
        yield instance


def check_fault(instance: Instance, name: str, fault: Fault, table: list[Row]) -> None:
    """Injects a fault under load, adds its row, and checks that every acknowledged patient exists once."""
    before = wait_until_settled(instance)
    with PatientCreator(instance) as creator:
        time.sleep(AROUND_SECONDS)
        fault(instance)
        acknowledged_before = len(creator.acknowledged)
        eventually(lambda: len(creator.acknowledged) > acknowledged_before, seconds=60)
        time.sleep(AROUND_SECONDS)
    table.append((name, len(creator.acknowledged), creator.tries_failed, creator.longest_silence()))
    expected = before | set(creator.acknowledged)
    assert len(expected) == len(before) + len(creator.acknowledged)
    assert wait_until_settled(instance) == expected


def wait_until_settled(instance: Instance) -> set[str]:
    """Waits until every patient has an account and an event, and returns the ids of the patients.

    Fails with the numbers found last, none if the system is unavailable, and the ends of the logs.
    """
    found: dict[str, set[str]] = {}

    def is_settled() -> bool:
        nonlocal found
        found = find_patient_ids(instance)
        return len({frozenset(ids) for ids in found.values()}) == 1

    try:
        eventually(is_settled, seconds=60)
    except AssertionError as error:
        numbers = {name: len(ids) for name, ids in found.items()}
        logs = [file.read_text(encoding="utf-8")[-2000:] for file in sorted((instance.folder / "logs").iterdir())]
        pytest.fail("\n".join([f"{error}: {numbers}", *logs]))
    return found["patients"]


def find_patient_ids(instance: Instance) -> dict[str, set[str]]:
    """Returns the ids of all patients in each list, or an empty dict while the system is unavailable.

    Fails if one has two.
    """
    try:
        with httpx.Client(base_url=instance.url, timeout=20) as client:
            log_in(client, instance)
            listed = {
                field: Counter(row[key] for row in rows(client, path, field))
                for path, field, key in (
                    ("/v1/patients", "patients", "id"),
                    ("/v1/billing/accounts", "billingAccounts", "patientId"),
                    ("/v1/analytics/events", "events", "patientId"),
                )
            }
    except httpx.HTTPError:
        return {}
    assert {count for counter in listed.values() for count in counter.values()} <= {1}
    return {field: set(counter) for field, counter in listed.items()}


def rows(client: httpx.Client, path: str, field: str) -> Iterator[dict[str, str]]:
    """Yields the resources of all pages of a list."""
    token = ""
    while True:
        page = client.get(path, params={"pageSize": 1000, "pageToken": token}).raise_for_status().json()
        yield from page.get(field, [])
        if not (token := page.get("nextPageToken", "")):
            return


def kill(instance: Instance, *parts: str) -> None:
    """Kills processes, and waits until they are restarted."""
    old = {part: instance.state().processes[part].pid for part in parts}
    for pid in old.values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: all(instance.state().processes[part].pid != pid for part, pid in old.items()))


def freeze(instance: Instance, part: str) -> None:
    """Suspends a process for a while. The supervisor may restart it meanwhile."""
    frozen = find_processes(instance.state().processes[part].process())
    for process in frozen:
        process.suspend()
    time.sleep(FROZEN_SECONDS)
    for process in frozen:
        with suppress(psutil.NoSuchProcess):  # killed by the supervisor
            process.resume()


def find_processes(process: psutil.Process | None) -> list[psutil.Process]:
    """Returns a process with its descendants."""
    return [process, *process.children(recursive=True)] if process else []


@pytest.mark.parametrize("part", PARTS)
def test_killed_process(own_instance: Instance, part: str, table: list[Row]) -> None:
    check_fault(own_instance, f"kill {part}", lambda instance: kill(instance, part), table)


@pytest.mark.parametrize("part", PARTS)
def test_frozen_process(own_instance: Instance, part: str, table: list[Row]) -> None:
    check_fault(own_instance, f"stop {part} for {FROZEN_SECONDS} s", lambda instance: freeze(instance, part), table)


def test_three_processes_killed_together(own_instance: Instance, table: list[Row]) -> None:
    three = ("patient", "broker", "postgres")
    check_fault(own_instance, f"kill {', '.join(three)} at once", lambda instance: kill(instance, *three), table)


def test_full_disk(own_instance: Instance, small_disk: Path | None, table: list[Row]) -> None:
    if small_disk is None:
        pytest.skip("mounting a file system requires root")

    def full(_: Instance) -> None:
        filler = fill(small_disk)
        time.sleep(FULL_SECONDS)
        filler.unlink()

    check_fault(own_instance, f"disk full for {FULL_SECONDS} s", full, table)


@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("parts", CLOCK_GROUPS, ids=",".join)
def test_clocks_off_by_an_hour(
    movable: Instance, clocks: Clocks, parts: tuple[str, ...], hours: int, table: list[Row]
) -> None:
    offset = hours * HOUR_SECONDS

    def move(instance: Instance) -> None:
        clocks.set(parts, offset)
        time.sleep(MOVED_SECONDS)
        for part in parts:
            assert clock_offset(instance.state().processes[part].pid) == pytest.approx(offset, abs=60)
        clocks.set(parts, 0)

    names = "all but gateway and broker" if parts == MOVABLE else " and ".join(parts)
    check_fault(movable, f"clock of {names} {hours:+d} h for {MOVED_SECONDS} s", move, table)
