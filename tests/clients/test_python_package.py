"""The Python package `pulsetrack`: its wheel passes its tests, is typed, and works in an empty environment."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.clients.environments import UV, execute, python_programs
from tests.e2e.sessions import ADMIN_EMAIL
from tests.tools.locks import pins
from tools.instance import Instance
from tools.local.process import ROOT

pytestmark = pytest.mark.timeout(300)

SOURCE = ROOT / "clients" / "python"


@pytest.mark.parametrize(
    "module",
    [
        "test_client",
        "test_session",
        "test_readers",
        "test_imports",
        "test_transfers",
        *(pytest.param(each, marks=pytest.mark.soak) for each in ("test_cli", "test_faults")),
    ],
)
def test_package_passes_its_tests(system: Instance, package: Path, module: str) -> None:
    """Runs them in a process of their own: the services have registered the same protos without generated code."""
    variables = {"URL": system.url, "PASSWORD": system.admin_password, "PYTHONPATH": str(package)}
    printed = execute(
        "python", "-m", "pytest", "-q", f"tests/{module}.py", folder=SOURCE, path=python_programs(), **variables
    )
    assert " passed" in printed
    assert "skipped" not in printed


def test_running_instance_is_exported_by_its_first_admin(system: Instance, package: Path, tmp_path: Path) -> None:
    program = tmp_path / "pulsetrack"
    program.write_text(
        f"#!{python_programs() / 'python'}\nimport sys\nfrom pulsetrack.cli import main\nsys.exit(main())\n"
    )
    program.chmod(0o700)
    variables = {"PULSETRACK_DATA_DIR": str(system.folder), "PYTHONPATH": f"{ROOT}:{package}"}
    file = tmp_path / "patients.csv"
    execute(
        sys.executable,
        "-m",
        "tools.transfer",
        str(program),
        "export",
        str(file),
        folder=ROOT,
        path=tmp_path,
        **variables,
    )
    assert file.read_text().startswith("id,")


@pytest.mark.parametrize("library", ["grpcio", "protobuf"])
def test_package_requires_at_least_the_version_that_generated_its_code(library: str) -> None:
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [required] = [each for each in map(Requirement, project["dependencies"]) if each.name == library]
    [locked] = pins(SOURCE / "requirements.lock")[library].specifier
    assert f">={locked.version}" in {str(each) for each in required.specifier}


@pytest.mark.soak
def test_package_and_its_tests_are_strictly_typed(package: Path, tmp_path: Path) -> None:
    options = ("--config-file", str(SOURCE / "pyproject.toml"), "--cache-dir", str(tmp_path))
    for target in (("-p", "pulsetrack"), (str(SOURCE / "tests"),)):
        execute("mypy", *options, *target, folder=package, path=python_programs(), MYPYPATH=str(package))


@pytest.mark.soak
def test_wheel_works_in_an_empty_environment(system: Instance, wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    execute(str(UV), "venv", "-q", "--python", sys.executable, str(environment), folder=tmp_path)
    python = environment / "bin" / "python"
    execute(str(UV), "pip", "install", "-q", "--python", str(python), f"{wheel}[cli]", folder=tmp_path)

    [example] = re.findall(r"^```python\n(.*?)^```", (SOURCE / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    example = example.replace("http://localhost:8080", system.url).replace("ana@clinic.test", ADMIN_EMAIL)
    example = example.replace("correct horse", system.admin_password)
    assert "Ana Silva +351 21 000 000" in execute(str(python), "-c", example, folder=tmp_path)
    completion = execute(str(environment / "bin" / "pulsetrack"), "--print-completion", "bash", folder=tmp_path)
    assert "patients" in completion


@pytest.mark.soak
@pytest.mark.parametrize("part", ["patient", "gateway", "postgres"])
def test_calls_and_watches_survive_a_killed_process(expendable: Instance, package: Path, part: str) -> None:
    expendable.wait_until_ready()
    variables = {"URL": expendable.url, "PASSWORD": expendable.admin_password, "COUNT": "100"}
    command = [python_programs() / "python", Path(__file__).with_name("survive.py")]
    environment = {**os.environ, **variables, "PYTHONPATH": str(package)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        assert program.stdout.readline() == "begun\n"
        os.kill(expendable.state().processes[part].pid, signal.SIGKILL)
        printed, _ = program.communicate(timeout=150)
    assert printed == "survived\n"
