"""Builds gen/ from proto/: `python -m tools.protos`, or with `--check` only says whether all is as it should be."""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import distribution
from io import BytesIO
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

ROOT = Path(__file__).resolve().parents[1]
GEN = ROOT / "gen"
THIRD_PARTY = ROOT / "third_party"

# The last source distribution with buf/validate/validate.proto in it. No wheel carries it, and its descriptor is the
# same as that of the version that runs.
_VALIDATE = "protovalidate==1.2.0"
_VALIDATE_SHA256 = "4cb9a5065f32abc9baf2cf25c5bd09a139f7dffb7b8692f636a8e3e6883bb9a2"
_GOOGLE = "googleapis-common-protos"


class ProtosError(Exception):
    """Occurs when the protos, or what is generated from them, are not as they should be."""


def main() -> int:
    """Returns the exit code: 1 with a sentence if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tools.protos", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, and fail if something would change")
    check = parser.parse_args().check
    try:
        build(check=check)
    except ProtosError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build(*, check: bool) -> None:
    """Lints, formats and compiles the protos, and brings gen/ up to date. Raises ProtosError.

    A check changes neither the protos nor gen/, and raises if either would change.
    """
    third_party()
    _buf("lint", otherwise="The protos break a rule of buf lint.")
    how = ("--diff", "--exit-code") if check else ("-w",)
    _buf("format", *how, "proto", otherwise="The protos are not formatted: run `make proto`.")
    breaking()
    with tempfile.TemporaryDirectory() as folder:
        generated = generate(Path(folder))
        if not check:
            shutil.rmtree(GEN, ignore_errors=True)
            shutil.copytree(generated, GEN)
        elif differing := _differing(generated, GEN):
            raise ProtosError(f"gen/ is not what the protos generate ({', '.join(differing)}): run `make proto`.")


def third_party() -> None:
    """Takes Google's and protovalidate's protos out of their packages, unless they are there in these versions."""
    google = distribution(_GOOGLE)
    versions = f"{_GOOGLE}=={google.version}\n{_VALIDATE}\n"
    stamp = THIRD_PARTY / "versions.txt"
    if stamp.exists() and stamp.read_text() == versions:
        return
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder)
        for file in google.files or ():
            if file.suffix == ".proto" and file.parts[:2] in {("google", "api"), ("google", "rpc")}:
                _write(new / file, file.read_binary())
        _write(new / "buf" / "validate" / "validate.proto", _validate_proto())
        _write(new / stamp.name, versions.encode())
        shutil.rmtree(THIRD_PARTY, ignore_errors=True)
        shutil.copytree(new, THIRD_PARTY)


def breaking() -> None:
    """Compares with the protos of the branch main. Raises ProtosError if a caller of those would break."""
    branch = next((name for name in ("main", "origin/main") if _git("rev-parse", f"{name}:proto")), None)
    if branch is None:
        print("buf breaking is skipped: there is no branch main with protos to compare with.")
        return
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder)
        archive = _git("archive", branch, "proto", "buf.yaml")
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(old, filter="data")
        # Not in git, and so not in the archive.
        shutil.copytree(THIRD_PARTY, old / "third_party", dirs_exist_ok=True)
        _buf("breaking", "--against", folder, otherwise=f"The protos break callers of those of {branch}.")


def generate(workspace: Path) -> Path:
    """Generates gen/ in a workspace, from the protos of this checkout, and returns it."""
    gen = workspace / "gen"
    gen.mkdir()
    shutil.copy(ROOT / "buf.gen.yaml", workspace)
    image = gen / "descriptors.binpb"
    _buf("build", "proto", "-o", str(image), otherwise="The protos do not compile.")
    image.write_bytes(_completed(FileDescriptorSet.FromString(image.read_bytes())))
    _buf("generate", folder=workspace, otherwise="No code can be generated from the protos.")
    return gen


def _completed(files: FileDescriptorSet) -> bytes:
    """Adds the error details, which Envoy needs to show them as JSON, and drops the comments of others' protos."""
    present = {file.name for file in files.file}

    def add(descriptor: FileDescriptor) -> None:
        if descriptor.name not in present:
            present.add(descriptor.name)
            for dependency in descriptor.dependencies:
                add(dependency)
            file = FileDescriptorProto()
            descriptor.CopyToProto(file)
            files.file.append(file)

    for module in (error_details_pb2, status_pb2):
        add(module.DESCRIPTOR)
    for file in files.file:
        if not file.name.startswith("pulsetrack/"):
            file.source_code_info.Clear()
            file.source_code_info.SetInParent()  # empty but there: the betterproto2 plugin reads it of every file
    return files.SerializeToString(deterministic=True)


def _validate_proto() -> bytes:
    """Downloads protovalidate's source distribution and returns its validate.proto. Raises ProtosError."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        source = ["--no-build-isolation", "--no-binary", "protovalidate", _VALIDATE]
        _run([*pip, *source, "--dest", folder], otherwise=f"{_VALIDATE} cannot be downloaded with pip.")
        content = next(Path(folder).glob("*.tar.gz")).read_bytes()
    if hashlib.sha256(content).hexdigest() != _VALIDATE_SHA256:
        raise ProtosError(f"The source distribution of {_VALIDATE} is not the one known: its SHA-256 differs.")
    with tarfile.open(fileobj=BytesIO(content)) as tar:
        name = next(name for name in tar.getnames() if name.endswith("/buf/validate/validate.proto"))
        file = tar.extractfile(name)
        return file.read() if file else b""


def _differing(one: Path, other: Path) -> list[str]:
    """Returns the names of the files that differ between two folders, or are in one only."""
    files, others = _content(one), _content(other)
    return sorted(name for name in files.keys() | others.keys() if files.get(name) != others.get(name))


def _content(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file below a folder, without Python's caches."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _buf(*arguments: str, otherwise: str, folder: Path = ROOT) -> None:
    _run(["buf", *arguments], otherwise=otherwise, folder=folder)


def _run(command: list[str], *, otherwise: str, folder: Path = ROOT) -> None:
    """Runs a program of this environment. Raises ProtosError with what it printed if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    found = shutil.which(command[0], path=path)
    if found is None:
        raise ProtosError(f"{command[0]} is missing: it is in tests/requirements.lock, which `make proto` installs.")
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}  # buf runs tools.openapi
    ran = subprocess.run(
        [found, *command[1:]], check=False, capture_output=True, cwd=folder, env=environment, text=True
    )
    if ran.returncode:
        raise ProtosError(f"{ran.stdout}{ran.stderr}{otherwise}")


def _git(*arguments: str) -> bytes:
    """Returns what git prints, nothing if it fails or there is no git."""
    try:
        return subprocess.run(["git", *arguments], check=True, capture_output=True, cwd=ROOT).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""


if __name__ == "__main__":
    sys.exit(main())
