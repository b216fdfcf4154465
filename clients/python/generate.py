"""Generates the messages and stubs of the package when its wheel is built in a checkout of the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Generate(BuildHookInterface[Any]):
    """Runs buf, and adds what it writes to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generates the code before the wheel is built. An editable installation contains it too."""
        del version
        generated = Path(self.root, "gen")
        shutil.rmtree(generated, ignore_errors=True)
        generated.mkdir()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        subprocess.run(["buf", "generate"], check=True, cwd=self.root, env={**os.environ, "PATH": path})  # noqa: S607
        build_data["force_include"][str(generated / "pulsetrack")] = "pulsetrack"
