"""Pytest plugin: a system that the tests of a worker share, and data folders for tests that need their own."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.e2e.sessions import ADMIN_EMAIL, Session
from tools.instance import Instance, run_instance
from tools.local.data_folder import State

ORIGIN = "http://pages.test"
"""An allowed CORS origin, in addition to the gateway's own."""

NewFolder = Callable[[str], Path]
"""Returns a data folder for an instance, in a new temporary folder with the given name."""


@pytest.fixture(scope="session")
def new_folder(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> NewFolder:
    """Creates data folders. With several workers, they contain migrated databases, which are created once."""
    shared = tmp_path_factory.getbasetemp().parent
    is_worker = hasattr(pytestconfig, "workerinput")  # a test may run pytest in a process that inherits its environment

    def new(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name) / "data"
        if is_worker:
            with FileLock(shared / "prepared.lock"):
                if not (shared / "prepared").exists():
                    prepare(shared / "prepared")
            shutil.copytree(shared / "prepared", folder)
        return folder

    return new


def prepare(folder: Path) -> None:
    """Creates a data folder whose copies start in half the time of an empty folder."""
    new = folder.with_name("preparing")
    with run_instance(new):
        pass
    State().write(new)  # instances run concurrently, each on its own ports
    with (new / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("fsync = off\n")  # tests kill processes, but not the machine
    shutil.rmtree(new / "logs")
    new.rename(folder)


@pytest.fixture(scope="session")
def system(new_folder: NewFolder) -> Iterator[Instance]:
    """The system that tests share if they do not break it, as `make up` runs it."""
    settings = {"PULSETRACK_RATE_LIMITS": "off", "PULSETRACK_CORS_ORIGINS": ORIGIN}
    with run_instance(new_folder("system"), **settings) as instance:
        yield instance


@pytest.fixture(scope="session")
def expendable(new_folder: NewFolder) -> Iterator[Instance]:
    """A system whose processes tests kill and whose keys they revoke. Each test waits until it is ready."""
    with run_instance(new_folder("expendable"), PULSETRACK_RATE_LIMITS="off") as instance:
        yield instance


@pytest.fixture(scope="module")
def user(system: Instance) -> Iterator[Session]:
    """A user who has signed up. Each module logs in again, because tokens expire after 15 minutes."""
    with Session.sign_up(system) as session:
        yield session


@pytest.fixture(scope="module")
def admin(system: Instance) -> Iterator[Session]:
    """The first admin."""
    with Session.log_in(system, ADMIN_EMAIL, system.admin_password) as session:
        yield session
