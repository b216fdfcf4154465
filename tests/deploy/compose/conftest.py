"""The system as `make compose` runs it. Its tests are skipped without a docker engine or without base images."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.compose import engine, images
from tests.deploy.compose.stack import Stack, running
from tests.e2e.sessions import Session

_SECONDS = 1200
"""For a test with the fixtures that it is the first to need: the images may have to be built."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of this folder, and gives them the time that containers need."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.soak)
            item.add_marker(pytest.mark.timeout(_SECONDS))


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A copy that all tests share; who breaks something waits until it is whole again."""
    if reason := engine.find_problem() or images.pull_missing():
        pytest.skip(f"containers cannot be run here: {reason}")
    with running(tmp_path_factory.mktemp("compose") / "data") as stack:
        yield stack


@pytest.fixture(scope="session")
def user(system: Stack) -> Iterator[Session]:
    """A user whom the admin has created: sign-up is closed."""
    with Session.create_user(system) as session:
        yield session
