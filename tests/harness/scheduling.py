"""Pytest plugin: the order of the tests, and which of them run on the same worker of pytest-xdist.

Tests that share a costly fixture run one after another on one worker, and the longest groups start first. An instance
uses CPU time even if it is idle, so it is stopped after the last test of its group.
"""

from collections.abc import Generator
from typing import Any

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

_TOGETHER = (
    ("e2e/test_faults.py", "e2e/test_watch_faults.py", "security/test_leaked_key.py"),  # the fixture `expendable`
    ("e2e/", "contract/", "requests/"),  # the fixture `system`
    ("console/", "clients/", "fhir/", "security/"),  # another `system`
    ("common/observability/",),  # another `system`
    ("deploy/compose/",),  # another `system`, in containers
    ("infrastructure/",),  # the templates
)
"""Files and folders whose tests run on one worker. A group is named after its first path. The first match counts."""

_ALONE = (
    "clients/test_transfers.py",
    "e2e/test_checkout.py",
    "e2e/test_erasure.py",
    "e2e/test_full_disk.py",
    "e2e/test_openapi.py",
    "e2e/test_restarts.py",
    "e2e/test_shapes.py",
)
"""Files in these folders whose tests use only instances of their own."""

_LONGEST = (
    "e2e/",
    "console/",
    "e2e/test_faults.py",
    "e2e/test_openapi.py",
    "infrastructure/",
    "common/observability/",
    "e2e/test_checkout.py",
    "e2e/test_full_disk.py",
    "e2e/test_shapes.py",
    "e2e/test_restarts.py",
    "tools/test_installer.py",
    "common/",
    "auth/",
    "tools/",
)
"""The groups, files and folders with the longest tests, longest first."""

_INSTANCES = ("system", "expendable")
"""The fixtures that run an instance for a group."""


def find_group(nodeid: str) -> str:
    """Returns the group of a test: the name of its group in `_TOGETHER`, or else its file."""
    file = nodeid.partition("::")[0].removeprefix("tests/")
    if file in _ALONE:
        return file
    return next((group[0] for group in _TOGETHER if file.startswith(group)), file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the tests by group, the longest first."""

    def rank(item: pytest.Item) -> int:
        group = find_group(item.nodeid)
        found = [start for start in _LONGEST if group.startswith(start)]
        return _LONGEST.index(max(found, key=len)) if found else len(_LONGEST)

    items.sort(key=rank)


class GroupScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Sends whole groups to the workers."""

    def _split_scope(self, nodeid: str) -> str:
        return find_group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling | None:
    """Replaces the distribution by file."""
    return GroupScheduling(config, log) if config.getoption("dist") == "loadfile" else None


class Instances:
    """Stops the instances of a group after its last test."""

    def __init__(self) -> None:
        self._running: list[tuple[pytest.FixtureDef[Any], pytest.FixtureRequest]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
        """Remembers the fixture of an instance."""
        if fixturedef.argname in _INSTANCES and fixturedef.scope == "session":
            self._running.append((fixturedef, request))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
        """Finishes the fixtures after the last test of a group."""
        yield
        if nextitem and find_group(nextitem.nodeid) != find_group(item.nodeid):
            while self._running:
                fixturedef, request = self._running.pop()
                fixturedef.finish(request)  # type: ignore[arg-type]


def pytest_configure(config: pytest.Config) -> None:
    """Registers the hooks that have state."""
    config.pluginmanager.register(Instances())
