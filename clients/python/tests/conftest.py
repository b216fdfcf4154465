"""The running system, and the command-line tool."""

import os
from pathlib import Path

import pytest
from pulsetrack.cli import main
from running_system import Run, System


@pytest.fixture(scope="session")
def system() -> System:
    """The system whose address and admin password are in the environment."""
    return System(os.environ["URL"], os.environ["PASSWORD"])


@pytest.fixture
def run(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs commands with the credentials of a logged-in user."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PULSETRACK_PASSWORD", system.password)

    def run(*arguments: str) -> str:
        assert main(arguments) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert run("login", "--url", system.url, "--email", system.email) == f"Logged in as {system.email}.\n"
    return run
