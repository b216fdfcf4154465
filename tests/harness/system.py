"""A plugin: one whole system for all tests of a worker that break nothing, and data folders for those that do."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.e2e.sessions import ADMIN_EMAIL, Session
from tools.instance import Instance, run_instance
from tools.local.data_folder import State

ORIGIN = "http://pages.test"
"""The origin, other than the gateway's own, whose pages may call."""

NewFolder = Callable[[str], Path]
"""Returns a data folder for a copy of PulseTrack, inside a new temporary folder of the given name."""


@pytest.fixture(scope="session")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> NewFolder:
    """Creates data folders. In a run with several workers they hold migrated databases, which are made only once."""
    shared = tmp_path_factory.getbasetemp().parent

    def new(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name) / "data"
        if "PYTEST_XDIST_WORKER" in os.environ:
            with FileLock(shared / "prepared.lock"):
                if not (shared / "prepared").exists():
                    prepare(shared / "prepared")
            shutil.copytree(shared / "prepared", folder)
        return folder

    return new


def prepare(folder: Path) -> None:
    """Creates a data folder whose copies start in half the time of an empty one."""
    new = folder.with_name("preparing")
    with run_instance(new):
        pass
    State().write(new)  # its copies run side by side, each on ports of its own
    with (new / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("fsync = off\n")  # tests kill processes, never the machine
    shutil.rmtree(new / "logs")
    new.rename(folder)


@pytest.fixture(scope="session")
def system(new_folder: NewFolder) -> Iterator[Instance]:
    """The system that all tests share that break nothing, as `make up` runs it."""
    settings = {"PULSETRACK_RATE_LIMITS": "off", "PULSETRACK_CORS_ORIGINS": ORIGIN}
    with run_instance(new_folder("system"), **settings) as copy:
        yield copy


@pytest.fixture(scope="module")
def user(system: Instance) -> Iterator[Session]:
    """A user who has signed up. The log-in is per module, as its token lasts 15 minutes."""
    with Session.sign_up(system) as session:
        yield session


@pytest.fixture(scope="module")
def admin(system: Instance) -> Iterator[Session]:
    """The first admin."""
    with Session.log_in(system, ADMIN_EMAIL, system.admin_password) as session:
        yield session
