"""The commands of the README and of the guides succeed on a running system, in this order."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tools.instance import Instance
from tools.local.process import ROOT

GUIDES = ("README.md", "docs/rest.md", "docs/grpc.md")
TEXT = "\n".join((ROOT / guide).read_text(encoding="utf-8") for guide in GUIDES)
BLOCKS = re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
_NEEDS = {"grpcurl": shutil.which("grpcurl") is not None}


@pytest.fixture(scope="module")
def shell(system: Instance, tmp_path_factory: pytest.TempPathFactory) -> "Shell":
    return Shell(system, tmp_path_factory.mktemp("guides") / "variables")


class Shell:
    """A shell that keeps variables between blocks."""

    def __init__(self, system: Instance, variables: Path) -> None:
        self._system = system
        self._variables = variables
        variables.touch()

    def run(self, block: str) -> str:
        """Runs a block of a guide and returns what it prints. Raises CalledProcessError."""
        block = block.replace("localhost:8080", f"localhost:{self._system.port}")
        keep = f"declare -p TOKEN ID 2>/dev/null > {self._variables} || true"
        script = f"set -euo pipefail; . {self._variables}\n{block}\n{keep}"
        done = subprocess.run(
            ["bash", "-c", script], check=False, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][:60])
def test_command_succeeds(shell: Shell, block: str) -> None:
    for tool, there in _NEEDS.items():
        if tool in block and not there:
            pytest.skip(f"{tool} is not installed")
    printed = shell.run(block)
    if "curl -s localhost:8080/v1/patients/$ID\n" in block:
        assert "TOKEN_MISSING" in printed
    else:
        assert '"code"' not in printed


def test_error_in_the_guides_is_current(system: Instance) -> None:
    [shown] = re.findall(r"^```json\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert httpx.get(f"{system.url}/v1/patients/x").json() == json.loads(shown)
