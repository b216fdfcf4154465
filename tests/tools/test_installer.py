"""`tools/environment.py` installs exactly the packages of a lock, with any pip and despite newer releases."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.tools.locks import PYTHONS, pins
from tools.local.process import ROOT

NEWER = {"coverage": "999.0", "pyjwt": "999.0", "sqlalchemy": "999.0"}
"""A newer release of each package that is locked with an extra."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of newer releases, which no lock lists."""
    folder = tmp_path_factory.mktemp("index")
    for name, version in NEWER.items():
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            extras = "".join(f"Provides-Extra: {extra}\n" for extra in ("asyncio", "crypto", "toml"))
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{extras}")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    return folder


def python(version: str) -> str:
    """Returns a Python of the version, or skips the test if this machine has none."""
    on_path = shutil.which(f"python{version}")
    candidates = [
        *([on_path] if on_path else []),
        *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")),
    ]
    for candidate in candidates:
        found = subprocess.run([candidate, "-c", "import venv, ensurepip"], check=False, capture_output=True)
        if found.returncode == 0:
            return candidate
    pytest.skip(f"there is no Python {version} on this machine")


@pytest.mark.parametrize(
    "version",
    [PYTHONS[0], *(pytest.param(version, marks=pytest.mark.soak) for version in PYTHONS[1:])],
)
def test_newer_release_does_not_change_the_installed_packages(
    version: str, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_oldest_pip = tmp_path / "python"  # the pip that is bundled with Python
    subprocess.run([python(version), "-m", "venv", str(with_oldest_pip)], check=True)
    checkout = tmp_path / "a checkout of Träck"
    locks = ("requirements.lock", "tests/requirements.lock")
    for file in ("tools/environment.py", "tools/requirements.lock", *locks):
        (checkout / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, checkout / file)
    for links in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.setenv(links, str(index))
    for lock, keep in zip(locks, ([], ["--keep"]), strict=True):
        command = [str(with_oldest_pip / "bin/python"), "tools/environment.py", lock, *keep]
        subprocess.run(command, cwd=checkout, check=True, timeout=100)
    list_all = (
        "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
    )
    installed = subprocess.run(
        [str(checkout / ".venv/bin/python"), "-c", list_all], check=True, capture_output=True, text=True
    ).stdout.lower()
    for name in NEWER:
        assert f"{name}{pins(ROOT / locks[1])[name].specifier}" in installed.split()
