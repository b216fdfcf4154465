"""Generates gen/ and docs/authorization.md from proto/: `python -m tools.protos`.

With `--check`, verifies that the protos are valid and the generated files up to date.
"""

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

# The last source distribution that contains buf/validate/validate.proto. No wheel contains it. Its descriptor equals
# that of the installed version.
_VALIDATE = "protovalidate==1.2.0"
_VALIDATE_SHA256 = "4cb9a5065f32abc9baf2cf25c5bd09a139f7dffb7b8692f636a8e3e6883bb9a2"
_GOOGLE = "googleapis-common-protos"


class ProtosError(Exception):
    """Raised when the protos are invalid or a generated file is out of date."""


def main() -> int:
    """Returns the exit code: 1 after printing an error."""
    parser = argparse.ArgumentParser(prog="python -m tools.protos", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change no files, and fail if any would change")
    check = parser.parse_args().check
    try:
        build(check=check)
    except ProtosError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build(*, check: bool) -> None:
    """Lints, formats and compiles the protos, and updates gen/ and docs/authorization.md. Raises ProtosError.

    With `check`, changes no files and raises if the protos are not formatted or a generated file is out of date.
    """
    fetch_third_party()
    _buf("lint", error="buf lint found errors in the protos.")
    mode = ("--diff", "--exit-code") if check else ("-w",)
    _buf("format", *mode, "proto", error="The protos are not formatted. Run `make proto`.")
    check_breaking()
    with tempfile.TemporaryDirectory() as folder:
        generated = generate(Path(folder))
        if not check:
            shutil.rmtree(GEN, ignore_errors=True)
            shutil.copytree(generated, GEN)
        elif differences := _differing_files(generated, GEN):
            raise ProtosError(f"gen/ is out of date ({', '.join(differences)}). Run `make proto`.")
    table = [sys.executable, "-m", "tools.authorization", *(["--check"] if check else [])]  # imports the new gen/
    _run(table, error="docs/authorization.md is out of date. Run `make proto`.")


def fetch_third_party() -> None:
    """Extracts the protos of Google and protovalidate from their packages, unless these versions are present."""
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


def check_breaking() -> None:
    """Compares the protos with those of the main branch. Raises ProtosError if a change breaks existing clients."""
    branch = next((name for name in ("main", "origin/main") if _git("rev-parse", f"{name}:proto")), None)
    if branch is None:
        print("Skipped buf breaking, because no main branch with protos exists.")
        return
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder)
        archive = _git("archive", branch, "proto", "buf.yaml")
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(old, filter="data")
        # third_party/ is not in git, so the archive does not contain it.
        shutil.copytree(THIRD_PARTY, old / "third_party", dirs_exist_ok=True)
        _buf("breaking", "--against", folder, error=f"The protos are incompatible with those of {branch}.")


def generate(workspace: Path) -> Path:
    """Generates gen/ in a workspace from the protos of this checkout. Returns its path."""
    gen = workspace / "gen"
    gen.mkdir()
    shutil.copy(ROOT / "buf.gen.yaml", workspace)
    image = gen / "descriptors.binpb"
    _buf("build", "proto", "-o", str(image), error="The protos do not compile.")
    image.write_bytes(_with_error_details(FileDescriptorSet.FromString(image.read_bytes())))
    _buf("generate", folder=workspace, error="Code generation failed.")
    return gen


def _with_error_details(files: FileDescriptorSet) -> bytes:
    """Returns the descriptors with google.rpc error details, and without comments of third-party protos.

    Envoy requires the error details to transcode them to JSON.
    """
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
            file.source_code_info.SetInParent()  # the betterproto2 plugin requires the field
    return files.SerializeToString(deterministic=True)


def _validate_proto() -> bytes:
    """Downloads protovalidate's source distribution and returns its validate.proto. Raises ProtosError."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        source = ["--no-build-isolation", "--no-binary", "protovalidate", _VALIDATE]
        _run([*pip, *source, "--dest", folder], error=f"pip failed to download {_VALIDATE}.")
        content = next(Path(folder).glob("*.tar.gz")).read_bytes()
    if hashlib.sha256(content).hexdigest() != _VALIDATE_SHA256:
        raise ProtosError(f"The SHA-256 of the source distribution of {_VALIDATE} does not match.")
    with tarfile.open(fileobj=BytesIO(content)) as tar:
        name = next(name for name in tar.getnames() if name.endswith("/buf/validate/validate.proto"))
        file = tar.extractfile(name)
        return file.read() if file else b""


def _differing_files(one: Path, other: Path) -> list[str]:
    """Returns the names of files that differ between two folders, or exist in only one."""
    files, others = _read_files(one), _read_files(other)
    return sorted(name for name in files.keys() | others.keys() if files.get(name) != others.get(name))


def _read_files(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file in a folder and its subfolders, except __pycache__."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _buf(*arguments: str, error: str, folder: Path = ROOT) -> None:
    _run(["buf", *arguments], error=error, folder=folder)


def _run(command: list[str], *, error: str, folder: Path = ROOT) -> None:
    """Runs a program of this environment. Raises ProtosError with its output and `error` if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    found = shutil.which(command[0], path=path)
    if found is None:
        raise ProtosError(f"{command[0]} is not installed. Run `make proto`, which installs tests/requirements.lock.")
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}  # buf runs tools.openapi
    run = subprocess.run(
        [found, *command[1:]], check=False, capture_output=True, cwd=folder, env=environment, text=True
    )
    if run.returncode:
        raise ProtosError(f"{run.stdout}{run.stderr}{error}")


def _git(*arguments: str) -> bytes:
    """Returns the output of git, or b"" if it fails or is not installed."""
    try:
        return subprocess.run(["git", *arguments], check=True, capture_output=True, cwd=ROOT).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""


if __name__ == "__main__":
    sys.exit(main())
