"""What `make compose` says, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.deploy.compose.stack import Stack


def test_another_start_changes_nothing_and_shows_no_secret(system: Stack) -> None:
    before = {name: one["Id"] for name, one in system.containers().items()}
    said = system.make("up")
    assert "PulseTrack is up after" in said
    assert system.url in said
    assert system.admin_password not in said
    assert {name: one["Id"] for name, one in system.containers().items()} == before


def test_new_secrets_for_databases_that_have_others_are_not_made(system: Stack, tmp_path: Path) -> None:
    forgetful = replace(system, folder=tmp_path / "other")
    with pytest.raises(AssertionError, match="belong to other secrets"):
        forgetful.make("up")
    assert not forgetful.folder.exists()


def test_the_images_are_told_of(system: Stack) -> None:
    [heading, *lines] = [line for line in system.make("images").splitlines() if "pulsetrack/" in line or "MB" in line]
    assert heading.split("  ")[0] == "image"
    beyond = {line.split()[0]: int(line.split()[2]) for line in lines}
    assert set(beyond) == {
        f"pulsetrack/{name}:test" for name in ("envoy", "auth", "patient", "billing", "analytics", "databases")
    }
    assert max(beyond.values()) < 250
