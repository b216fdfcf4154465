"""The templates, generated once for all tests. Without the CDK, the tests are skipped."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.infrastructure.templates import Templates

NOT_INSTALLED = "the CDK is not installed. `make test` installs it"


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """Skips the tests if the CDK is not installed."""
    if find_spec("aws_cdk") is None:
        pytest.skip(NOT_INSTALLED)


@pytest.fixture(scope="session")
def generate(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], "Templates"]:
    """Returns a function that generates the templates of an environment."""
    from infrastructure.environments import ENVIRONMENTS
    from tests.infrastructure.templates import Templates

    return cache(lambda name: Templates(ENVIRONMENTS[name], tmp_path_factory.mktemp(name)))


@pytest.fixture(params=["localstack", "staging", "production"])
def templates(request: pytest.FixtureRequest, generate: Callable[[str], "Templates"]) -> "Templates":
    """The templates of each environment."""
    return generate(request.param)


@pytest.fixture(params=["staging", "production"])
def on_aws(request: pytest.FixtureRequest, generate: Callable[[str], "Templates"]) -> "Templates":
    """The templates of each environment on AWS."""
    return generate(request.param)


@pytest.fixture
def localstack(generate: Callable[[str], "Templates"]) -> "Templates":
    """The templates of the emulator."""
    return generate("localstack")


@pytest.fixture
def production(generate: Callable[[str], "Templates"]) -> "Templates":
    """The templates of production."""
    return generate("production")
