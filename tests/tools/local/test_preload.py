"""Programs that are loaded before what they need is up: how the supervisor starts them, and the services' program."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.errors import StartError
from tests.tools.local.fakes import RecordingConsole, Started, nothing, preloaded_part, run, step, until
from tools.local.part import Part, Step
from tools.local.process import ROOT
from tools.local.supervisor import Supervisor


@pytest.mark.parametrize(("line", "code"), [("start\n", 1), ("", 0)], ids=["line", "end"])
def test_service_runs_only_after_a_line(line: str, code: int) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PULSETRACK_")}
    program = [sys.executable, "-m", "tools.local.preload", "services.billing"]
    ended = subprocess.run(program, check=False, capture_output=True, text=True, cwd=ROOT, env=environment, input=line)
    assert (ended.returncode, "A setting is invalid or missing" in ended.stderr) == (code, bool(line)), ended.stderr


def test_preloaded_part_is_launched_before_its_dependencies_and_serves_after_them(tmp_path: Path) -> None:
    loaded, serving = tmp_path / "loaded", tmp_path / "serving"

    async def wait_until_loaded() -> None:
        await until(loaded.exists)
        assert not serving.exists()

    nodes: list[Part | Step] = [preloaded_part("service", "tables", folder=tmp_path)]
    console, _ = run([*nodes, step("tables", run=wait_until_loaded)], tmp_path, nothing)
    assert console.order() == ["tables", "service"]


def test_step_is_loaded_before_its_dependencies(tmp_path: Path) -> None:
    loaded = asyncio.Event()

    async def load() -> None:
        loaded.set()

    async def wait_until_loaded() -> None:
        async with asyncio.timeout(5):
            await loaded.wait()

    step_with_program = Step(name="tables", run=nothing, needs=("store",), load=load)
    console, _ = run([step_with_program, step("store", run=wait_until_loaded)], tmp_path, nothing)
    assert console.order() == ["store", "tables"]


def test_preloaded_part_is_launched_after_the_nodes_that_it_names(tmp_path: Path) -> None:
    async def check() -> None:
        assert not (tmp_path / "loaded").exists()

    service = preloaded_part("service", "tables", "store", folder=tmp_path, after=("store",))
    console, _ = run([service, step("store", run=check), step("tables", "store", run=nothing)], tmp_path, nothing)
    assert console.order()[-1] == "service"


def test_preloaded_part_is_restarted(tmp_path: Path) -> None:
    serving = tmp_path / "serving"

    async def scenario(_: Supervisor, console: RecordingConsole, started: Started) -> None:
        serving.unlink()
        started.kill("service")
        await until(lambda: "service restarted" in console.lines[-1])

    run([preloaded_part("service", folder=tmp_path)], tmp_path, scenario)
    assert serving.exists()


def test_preloaded_part_is_stopped_if_a_dependency_fails(tmp_path: Path) -> None:
    loaded, serving = tmp_path / "loaded", tmp_path / "serving"

    async def fail() -> None:
        await until(loaded.exists)
        raise StartError("The tables cannot be created.")

    started = Started()
    nodes: list[Part | Step] = [preloaded_part("service", "tables", folder=tmp_path)]
    with pytest.raises(StartError, match="tables cannot be created"):
        run([*nodes, step("tables", run=fail)], tmp_path, nothing, started)
    assert (started.alive(), serving.exists()) == ([], False)
