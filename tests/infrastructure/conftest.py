"""The templates, written once for all tests. Where the CDK is not installed the tests are skipped."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.infrastructure.templates import Templates

NOT_INSTALLED = "the CDK is not installed: `make test` installs it"


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """Needs the packages that write templates."""
    if find_spec("aws_cdk") is None:
        pytest.skip(NOT_INSTALLED)


@pytest.fixture(scope="session")
def written(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], "Templates"]:
    """Gives the templates of an environment."""
    from infrastructure.environments import ENVIRONMENTS
    from tests.infrastructure.templates import Templates

    return cache(lambda name: Templates(ENVIRONMENTS[name], tmp_path_factory.mktemp(name)))


@pytest.fixture(params=["localstack", "staging", "production"])
def templates(request: pytest.FixtureRequest, written: Callable[[str], "Templates"]) -> "Templates":
    """The templates of each environment in turn."""
    return written(request.param)


@pytest.fixture(params=["staging", "production"])
def on_aws(request: pytest.FixtureRequest, written: Callable[[str], "Templates"]) -> "Templates":
    """The templates of each environment that is on AWS itself."""
    return written(request.param)


@pytest.fixture
def localstack(written: Callable[[str], "Templates"]) -> "Templates":
    """The emulator's templates."""
    return written("localstack")


@pytest.fixture
def production(written: Callable[[str], "Templates"]) -> "Templates":
    """Production's templates."""
    return written("production")
