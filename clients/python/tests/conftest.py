"""The running system."""

import os

import pytest
from running_system import System


@pytest.fixture(scope="session")
def system() -> System:
    """The system whose address and admin password are in the environment."""
    return System(os.environ["URL"], os.environ["PASSWORD"])
