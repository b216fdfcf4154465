"""The commands of the README and of the guides succeed on a running system, in this order."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.harness.system import NewFolder
from tools.instance import Instance, run_instance
from tools.local.process import ROOT

GUIDES = ("README.md", "docs/rest.md", "docs/grpc.md", "docs/fhir.md")
TEXT = "\n".join((ROOT / guide).read_text(encoding="utf-8") for guide in GUIDES)


def find_commands(text: str) -> list[str]:
    """Returns the blocks of commands in a guide."""
    return re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


_NEEDS = {"grpcurl": shutil.which("grpcurl") is not None}


@pytest.fixture(scope="module")
def shell(system: Instance, tmp_path_factory: pytest.TempPathFactory) -> "Shell":
    return Shell(system, tmp_path_factory.mktemp("guides") / "variables")


class Shell:
    """A shell that keeps variables between blocks. `make` does not install packages."""

    def __init__(self, system: Instance, variables: Path) -> None:
        self._system = system
        self._environment = os.environ | {"PULSETRACK_DATA_DIR": str(system.folder)}
        self._variables = variables
        variables.touch()

    def run(self, block: str) -> str:
        """Runs a block of a guide and returns what it prints. Raises CalledProcessError."""
        block = block.replace("localhost:8080", f"localhost:{self._system.port}")
        block = re.sub(r"\bmake ", "make -o .venv/.ready ", block)
        keep = f"declare -p TOKEN ID DATA 2>/dev/null > {self._variables} || true"
        script = f"set -euo pipefail; . {self._variables}\n{block}\n{keep}"
        done = subprocess.run(
            ["bash", "-c", script],
            check=False,
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.parametrize("block", find_commands(TEXT), ids=lambda block: block.split("\n")[0][:60])
def test_command_succeeds(shell: Shell, block: str) -> None:
    for tool, there in _NEEDS.items():
        if tool in block and not there:
            pytest.skip(f"{tool} is not installed")
    printed = shell.run(block)
    if "curl -s localhost:8080/v1/patients/$ID\n" in block:
        assert "TOKEN_MISSING" in printed
    else:
        assert not re.search(r'"code": ?\d', printed)


@pytest.mark.soak
def test_commands_of_the_operator_succeed(new_folder: NewFolder, tmp_path: Path) -> None:
    tutorial = (ROOT / "docs" / "tutorials" / "operator.md").read_text(encoding="utf-8")
    with run_instance(new_folder("operator"), PULSETRACK_SIGN_UP="invite") as instance:
        shell = Shell(instance, tmp_path / "variables")
        printed = [shell.run(block) for block in find_commands(tutorial)]
    assert [text for text in printed if '"code"' in text] == []
    assert "Restored 4 databases" in printed[-1]


def test_error_in_the_guides_is_current(system: Instance) -> None:
    [shown] = re.findall(r"^```json\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert httpx.get(f"{system.url}/v1/patients/x").json() == json.loads(shown)
