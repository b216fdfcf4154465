"""The steps of the tutorial docs/tutorials/contributor.md work in a copy of the repository."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.local.process import ROOT

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

TUTORIAL = (ROOT / "docs" / "tutorials" / "contributor.md").read_text(encoding="utf-8")
CODE: dict[str, str] = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', TUTORIAL, re.DOTALL | re.MULTILINE))
"""The code of the tutorial, by the title of its block."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the steps of the tutorial applied."""
    copy = tmp_path_factory.mktemp("recipe") / "pulsetrack"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "node_modules"))
    (copy / ".venv").symlink_to(sys.prefix)
    edit(copy / "proto" / "pulsetrack" / "patient" / "v1" / "patient.proto", add_to_proto)
    run(copy, "tools.protos")
    edit(copy / "services" / "patient" / "service.py", add_handler)
    edit(copy / "tests" / "contract" / "expected.py", add_to_contract)
    edit(copy / "requests" / "patient.http", lambda text: f"{text}\n{CODE['patient.http: request']}")
    run(copy, "tools.postman")
    (copy / "tests" / "patient" / "test_get_patient_summary.py").write_text(
        CODE["tests/patient: test"], encoding="utf-8"
    )
    (copy / "tests" / "e2e" / "test_get_patient_summary.py").write_text(CODE["tests/e2e: test"], encoding="utf-8")
    return copy


def edit(file: Path, change: Callable[[str], str]) -> None:
    """Edits a file. Fails if the edit has no effect."""
    before = file.read_text(encoding="utf-8")
    after = change(before)
    assert after != before, file
    file.write_text(after, encoding="utf-8")


def add_to_proto(text: str) -> str:
    """Adds the RPC at the end of the service, and its messages at the end of the file."""
    service = r"(service PatientService \{.*?\n)\}\n"
    text = re.sub(service, lambda found: f"{found[1]}\n{CODE['patient.proto: method']}}}\n", text, flags=re.DOTALL)
    return f"{text}\n{CODE['patient.proto: messages']}"


def add_handler(text: str) -> str:
    """Adds the handler before that of GetPatient, and its imports."""
    text = text.replace("    GetPatientRequest,\n", "    GetPatientRequest,\n    GetPatientSummaryRequest,\n")
    text = text.replace("    PatientDeleted,\n", "    PatientDeleted,\n    PatientSummary,\n")
    return text.replace("    async def get_patient(", f"{CODE['service.py: handler']}\n    async def get_patient(")


def add_to_contract(text: str) -> str:
    """Adds a row after that of GetPatient, with the same roles."""
    [row] = re.findall(r'^ *Row\("patient", "GetPatient",.*\n', text, re.MULTILINE)
    return text.replace(row, row + row.replace("GetPatient", "GetPatientSummary").replace("{id}", "{id}/summary"))


def run(checkout: Path, module: str, *arguments: str) -> str:
    """Runs a module in the copy and returns its output. Fails if the module fails."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=False, cwd=checkout, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_new_rpc_is_served_over_grpc_and_rest_and_is_in_the_contract(checkout: Path) -> None:
    folders = ("tests/patient", "tests/e2e")
    tests = [f"{folder}/test_get_patient_summary.py" for folder in folders]
    selected = "get_patient_summary or GetPatientSummary or every_method"
    printed = run(checkout, "pytest", "-q", *tests, "tests/contract/test_names.py", "-k", selected)
    assert "5 passed" in printed


def test_new_rpc_is_in_the_generated_files(checkout: Path) -> None:
    for file in ("gen/openapi.json", "requests/postman/pulsetrack.postman_collection.json"):
        assert "/summary" in (checkout / file).read_text(encoding="utf-8")


def test_new_code_is_formatted_and_linted(checkout: Path) -> None:
    changed = ("services/patient/service.py", "tests/patient", "tests/e2e/test_get_patient_summary.py")
    run(checkout, "ruff", "format", "--check", *changed)
    run(checkout, "ruff", "check", *changed)
