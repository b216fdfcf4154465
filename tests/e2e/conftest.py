"""Fixtures that repeat a test at every surface: REST, gRPC, gRPC-Web, and directly at the service."""

from collections.abc import Iterator

import pytest

from tests.e2e.sessions import Session
from tests.e2e.surfaces import SURFACES, Surface, open_surfaces
from tools.instance import Instance


@pytest.fixture(scope="module")
def user_surfaces(system: Instance, user: Session) -> Iterator[dict[str, Surface]]:
    """The surfaces, for a user."""
    with open_surfaces(system, user) as surfaces:
        yield surfaces


@pytest.fixture(scope="module")
def admin_surfaces(system: Instance, admin: Session) -> Iterator[dict[str, Surface]]:
    """The surfaces, for the first admin."""
    with open_surfaces(system, admin) as surfaces:
        yield surfaces


@pytest.fixture(params=SURFACES)
def surface_name(request: pytest.FixtureRequest) -> str:
    """The name of each surface."""
    surface: str = request.param
    return surface


@pytest.fixture
def api(user_surfaces: dict[str, Surface], surface_name: str) -> Surface:
    """Each surface, for a user."""
    return user_surfaces[surface_name]


@pytest.fixture
def admin_api(admin_surfaces: dict[str, Surface], surface_name: str) -> Surface:
    """Each surface, for the first admin."""
    return admin_surfaces[surface_name]
