"""Clients generated from gen/openapi.json compile with strict types and do a user's journey."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.requests.tool import find_program, output, run
from tools.instance import Instance
from tools.local.process import ROOT

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
DOCUMENT = str(ROOT / "gen" / "openapi.json")
TSC = ("tsc", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext")


def variables(system: Instance) -> dict[str, str]:
    return {"URL": system.url, "ADMIN_PASSWORD": system.admin_password}


def compile_typescript(folder: Path, journey: str) -> str:
    """Compiles a journey beside its generated client, and returns the path of the program."""
    shutil.copy(HERE / journey, folder)
    (folder / "package.json").write_text(json.dumps({"type": "module"}))
    packages = folder / "node_modules"
    packages.symlink_to(find_program("tsc").parent.parent)
    output(*TSC, "--typeRoots", str(packages / "@types"), str(folder / journey))
    return str((folder / journey).with_suffix(".js"))


def test_openapi_typescript_client_does_the_journey(system: Instance, tmp_path: Path) -> None:
    output("openapi-typescript", DOCUMENT, "--output", str(tmp_path / "schema.d.ts"))
    output("node", compile_typescript(tmp_path, "openapi_fetch.ts"), **variables(system))


def test_orval_client_does_the_journey(system: Instance, tmp_path: Path) -> None:
    output("orval", "--input", DOCUMENT, "--output", str(tmp_path / "api.ts"), "--client", "fetch")
    output("node", compile_typescript(tmp_path, "orval.ts"), **variables(system))


def test_openapi_python_client_does_the_journey(system: Instance, tmp_path: Path) -> None:
    generated = tmp_path / "pulsetrack"
    options = ("--meta", "none", "--config", str(HERE / "openapi_python_client.yaml"))
    done = run("openapi-python-client", "generate", "--path", DOCUMENT, "--output-path", str(generated), *options)
    warnings = sorted(re.findall(r"WARNING parsing (\S+ \S+)", done.stderr))
    streams = ["GET /fhir/R4/exports/{export_id}/{file}", "GET /v1/patients:export", "GET /v1/patients:watch"]
    raw_bodies = ["POST /fhir/R4/Patient", "POST /v1/patients:import", "PUT /fhir/R4/Patient/{id}"]
    assert (done.returncode, warnings) == (0, [*streams, *raw_bodies]), done.stderr

    python = find_program("openapi-python-client").resolve().with_name("python")
    journey = shutil.copy(HERE / "openapi_python_client.py", tmp_path)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path / "cache"))
    output(*mypy, "--python-executable", str(python), str(journey), MYPYPATH=str(tmp_path))
    output(str(python), str(journey), **variables(system))
