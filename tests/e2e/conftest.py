"""The whole system, as `make up` runs it, and its users, who log in once a module: their tokens last 15 minutes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.people import ADMIN_EMAIL, Person
from tools.copy import Copy, running

ORIGIN = "http://pages.test"
"""The origin, other than the gateway's own, whose pages may call."""


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A copy that all tests share who break nothing."""
    told = {"PULSETRACK_RATE_LIMITS": "off", "PULSETRACK_CORS_ORIGINS": ORIGIN}
    with running(tmp_path_factory.mktemp("system") / "data", **told) as copy:
        yield copy


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """The data folder of a copy that a test has for itself."""
    return tmp_path / "data"


@pytest.fixture(scope="module")
def user(system: Copy) -> Iterator[Person]:
    """Somebody who has signed up."""
    with Person.signed_up(system) as person:
        yield person


@pytest.fixture(scope="module")
def admin(system: Copy) -> Iterator[Person]:
    """The first admin."""
    with Person.logged_in(system, ADMIN_EMAIL, system.admin_password) as person:
        yield person
