"""The commands of docs/clients.md generate a client in each language, which does a user's journey."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.environments import execute, python_programs, typescript_packages
from tests.requests.tool import find_program
from tools.instance import Instance
from tools.local.process import ROOT

pytestmark = pytest.mark.timeout(400)

GUIDE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
JOURNEY = """\
logged in
created once per request ID
rejected: FIELDS_INVALID patient.address patient.date_of_birth patient.email
listed: 2
watched: REVISION_TYPE_UPDATED +351 21 000 000
rejected: ETAG_MISMATCH
deleted
"""
"""What the program of each language prints."""

Follow = Callable[[str], str]
"""Runs the commands of docs/clients.md for a language, and returns what they print."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the repository that a client needs."""
    generated = shutil.ignore_patterns("gen", "dist", "lib", "node_modules")
    shutil.copytree(ROOT / "clients", tmp_path / "clients", ignore=generated)
    (tmp_path / "gen").mkdir()
    shutil.copy(ROOT / "gen" / "descriptors.binpb", tmp_path / "gen")
    return tmp_path


@pytest.fixture
def follow(system: Instance, folder: Path) -> Follow:
    def run(language: str) -> str:
        [block] = re.findall(rf"^## {language}$.*?^```sh\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
        command = ("bash", "-euo", "pipefail", "-c", block)
        variables = {"URL": system.url, "PASSWORD": system.admin_password}
        return execute(*command, folder=folder, path=python_programs(), **variables)

    return run


def test_python_client_does_the_journey(follow: Follow) -> None:
    assert follow("Python").endswith(JOURNEY)


def test_typescript_client_does_the_journey(follow: Follow, folder: Path) -> None:
    (folder / "clients" / "typescript" / "node_modules").symlink_to(typescript_packages())
    assert follow("TypeScript") == JOURNEY + JOURNEY  # over gRPC and over gRPC-Web


@pytest.mark.soak
def test_go_client_does_the_journey(follow: Follow) -> None:
    find_program("go")
    assert follow("Go") == JOURNEY


@pytest.mark.soak
def test_java_client_does_the_journey(follow: Follow) -> None:
    for program in ("javac", "mvn"):
        find_program(program)
    assert follow("Java").endswith(JOURNEY)
