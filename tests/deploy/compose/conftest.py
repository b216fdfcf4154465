"""The system as `make compose` runs it. These tests are skipped without a Docker engine or base images."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.compose import engine, images
from tests.deploy.compose.stack import Stack, run_stack
from tests.e2e.sessions import Session

_SECONDS = 1200
"""The timeout of a test, including its fixtures: the first test may have to build the images."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of this folder and extends their timeouts."""
    folder = str(Path(__file__).parent)
    for item in items:
        if str(item.path).startswith(folder):
            item.add_marker(pytest.mark.soak)
            item.add_marker(pytest.mark.timeout(_SECONDS))


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that all tests share. A test that breaks it waits until it has recovered."""
    if reason := engine.find_problem() or images.pull_missing():
        pytest.skip(f"this machine cannot run containers: {reason}")
    with run_stack(tmp_path_factory.mktemp("compose") / "data") as stack:
        yield stack


@pytest.fixture(scope="session")
def user(system: Stack) -> Iterator[Session]:
    """A user that the admin has created, because sign-up is closed."""
    with Session.create_user(system) as session:
        yield session
