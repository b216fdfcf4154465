"""The build of the console in the background of `make up`."""

import asyncio
from pathlib import Path

import pytest

from tools.local import build
from tools.local.console import Console
from tools.local.process import Command


class Output(Console):
    """Records the printed lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def print(self, text: str) -> None:
        self.lines.append(text)


def build_outdated(command: str, logs: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs the build of an outdated console with a shell command in place of it, and returns what is printed."""
    monkeypatch.setattr("console.build.is_current", lambda: False)
    monkeypatch.setattr(build, "_COMMAND", Command(argv=("sh", "-c", command)))
    output = Output()
    asyncio.run(build.build_console("http://gateway", logs, output))
    return output.lines


def test_built_console_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = build_outdated("true", tmp_path, monkeypatch)
    assert lines == ["Building the web console", "The web console is at http://gateway/console/"]


def test_failed_build_is_reported_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, line = build_outdated("echo no network; exit 1", tmp_path, monkeypatch)
    assert "  no network\n" in line
    assert line.endswith("PulseTrack runs without its console. `make console` builds it")
