"""The images' locks hold what requirements.lock holds of what they need."""

import re
import tomllib

import pytest

from tools.local.process import ROOT

BASE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def pinned(path: str) -> dict[str, str]:
    """Returns the entry of each package of a lock, with its hashes, by the package's name."""
    entries = re.split(r"\n(?=\S)", (ROOT / path).read_text().strip())
    return {entry.partition("==")[0]: entry for entry in entries}


@pytest.mark.parametrize("lock", ["services/requirements.lock", "envoy/requirements.lock"])
def test_an_images_lock_is_a_part_of_the_lock(lock: str) -> None:
    assert pinned(lock).items() <= pinned("requirements.lock").items()


def test_the_services_lock_has_what_the_project_depends_on() -> None:
    names = {re.match(r"[\w-]+", dependency).group() for dependency in BASE}  # type: ignore[union-attr]
    assert names <= set(pinned("services/requirements.lock"))


def test_the_gateway_takes_pyyaml_for_its_configuration_and_swagger_ui_for_its_page() -> None:
    assert set(pinned("envoy/requirements.lock")) == {"pyyaml", "swagger-ui-py", "jinja2", "markupsafe", "packaging"}
