"""The images contain only what their programs need. These tests read the Dockerfiles and build nothing."""

import re

from deploy.topology import TOPOLOGY
from tools.local.process import ROOT

IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
DEPLOY = {
    f"deploy/{name}" for name in ("__init__.py", "certificates.py", "databases", "errors.py", "probe.py", "topology.py")
}
BACKUP = {"pyproject.toml", "tools/__init__.py", "tools/backup", "tools/backup/cloud/requirements.lock"}
"""What only the image of backups contains."""


def read_copied(dockerfile: str) -> set[str]:
    """Returns the paths of the checkout that a Dockerfile copies."""
    text = (ROOT / dockerfile).read_text(encoding="utf-8")
    lines = re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
    return {path for line in lines for path in line.split()[:-1]}


def test_service_images_contain_no_developer_tools() -> None:
    services = {f"services/{name}" for name in ("__init__.py", "common", "requirements.lock", *TOPOLOGY)}
    assert read_copied("services/Dockerfile") == {"gen", *services, *DEPLOY, *BACKUP}


def test_only_the_image_of_backups_contains_tools() -> None:
    text = (ROOT / "services" / "Dockerfile").read_text(encoding="utf-8")
    stages = {stage.split()[2]: stage for stage in re.split(r"\nFROM (?=.* AS )", text)[1:] if " AS " in stage[:60]}
    assert {name for name, stage in stages.items() if "/images/backup" in stage} == {"backup"}


def test_image_of_a_service_sets_its_variables() -> None:
    stages = (ROOT / "services" / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")
    images = {stage.split()[2]: re.findall(r"^ENV (\w+)=(\S+)$", stage, re.MULTILINE) for stage in stages}
    assert {name: dict(images[name]) for name in TOPOLOGY} == {
        service.name: service.variables for service in TOPOLOGY.values()
    }


def test_gateway_image_contains_only_files_of_its_configuration() -> None:
    stages = (ROOT / "envoy" / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")
    assert re.findall(r"^COPY (.+)$", stages[-1], re.MULTILINE) == ["--from=configuration /image /"]


def test_build_context_is_limited_to_copied_files() -> None:
    assert IGNORE[1] == "*"
    allowed = {line.removeprefix("!") for line in IGNORE if line.startswith("!")}
    copied = read_copied("services/Dockerfile") | read_copied("envoy/Dockerfile")
    assert {path for path in copied if not any(contains(each, path) for each in allowed)} == set()
    assert {path for path in allowed if not any(contains(path, each) for each in copied)} == set()


def contains(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
