"""The Python package `pulsetrack` as it is published."""

import zipfile
from pathlib import Path

import pytest

from tests.clients.environments import build_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the package."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def package(wheel: Path) -> Path:
    """A folder with the content of the wheel, from which Python can import it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "package")
    return wheel.parent / "package"
