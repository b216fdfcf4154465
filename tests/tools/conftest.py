"""Fixtures for the tests of the tools."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    """A process that tests can end."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as process:
        yield psutil.Process(process.pid)
        process.kill()
