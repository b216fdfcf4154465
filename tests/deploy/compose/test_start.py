"""The output and the checks of `make compose`."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.deploy.compose.stack import Stack


def test_second_up_changes_nothing_and_shows_no_secret(system: Stack) -> None:
    before = {name: one["Id"] for name, one in system.containers().items()}
    output = system.run_program("up")
    assert "PulseTrack is up after" in output
    assert system.url in output
    assert system.admin_password not in output
    assert {name: one["Id"] for name, one in system.containers().items()} == before


def test_up_creates_no_secrets_for_existing_databases(system: Stack, tmp_path: Path) -> None:
    other = replace(system, folder=tmp_path / "other")
    with pytest.raises(AssertionError, match="has no secrets for them"):
        other.run_program("up")
    assert not other.folder.exists()


def test_images_are_listed_with_their_sizes(system: Stack) -> None:
    [heading, *lines] = [
        line for line in system.run_program("images").splitlines() if "pulsetrack/" in line or "MB" in line
    ]
    assert heading.split("  ")[0] == "image"
    beyond = {line.split()[0]: int(line.split()[2]) for line in lines}
    assert set(beyond) == {
        f"pulsetrack/{name}:test"
        for name in ("envoy", "auth", "patient", "billing", "analytics", "databases", "backup")
    }
    assert max(beyond.values()) < 250
